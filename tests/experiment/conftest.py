"""Stand-ins: a repository whose programs only leave their marks, and results of the suite."""

import json

import pytest

from histo_simclr.experiment import declared

# What is called is noted in `calls`; a command fails while a file `broken` names its folder.
PROGRAM = """
import json, pathlib, sys, time

out = [a for a in sys.argv if a.startswith("--workdir=")]
out = pathlib.Path(out[0].partition("=")[2] if out else sys.argv[-1])
kind = "mix" if not {word} else "evaluate" if out.name == "evaluation" else "pretrain"
with open("calls", "a") as file:
    print(kind, out.name, file=file)
if pathlib.Path("broken").exists() and out.name in pathlib.Path("broken").read_text().split():
    print("error: the record sets: no such cohort; obtain it", file=sys.stderr)
    sys.exit(2)
out.mkdir(parents=True, exist_ok=True)
given = [a for a in sys.argv if a.startswith("--config.checkpoints=")]
names = [pair.partition("=")[0] for pair in given[0].partition("=")[2].split(",")] if given else []
file = {{"mix": "mix.json", "pretrain": "finished.json", "evaluate": "results.json"}}[kind]
(out / file).write_text(json.dumps({{"encoders": dict.fromkeys(names)}}))
"""


@pytest.fixture
def experiment(tmp_path) -> declared.Experiment:
    """Two runs with two seeds in a stand-in of the repository."""
    root = tmp_path / "repository"
    (root / "histo_simclr").mkdir(parents=True)
    (root / "main.py").write_text(PROGRAM.format(word="True"))
    (root / "histo_simclr" / "__init__.py").touch()
    (root / "histo_simclr" / "__main__.py").write_text(PROGRAM.format(word="False"))
    claims = (
        declared.Claim("all images", "69.3", ("pretrained", 20), protocol="linear"),
        declared.Claim("more images", "> +2", ("pretrained", 20), ("pretrained", 10)),
        declared.Claim("of a task", "> +40", ("pretrained", 20), task="nct_crc"),
    )
    return declared.Experiment(
        name="images",
        preset="sample",
        file="configs/experiments/images.py",
        root=root,
        title="Images against macro-F1",
        question="Do more help?",
        variable="images",
        note="A demonstration.",
        records=("records",),
        runs=tuple(declared.Run(f"n{size}", size, {"size": size}) for size in (10, 20)),
        seeds=(0, 1),
        steps=6,
        pretrain="configs/p.py",
        pretrain_overrides={},
        evaluate="configs/e.py",
        evaluate_overrides={"fractions": (1.0,)},
        paper=claims,
        batch_size=5,
        warmup_share=0.1,
    )


@pytest.fixture
def row():
    """row(task, encoder, value, …): one row of results.json, as the suite writes it."""

    def make(task, encoder, value, *, protocol="linear", fraction=1.0, half=0.1, per_seed=None):
        metric = {"value": value, "low": value - half, "high": value + half, "sd": None}
        metric["per_seed"] = per_seed or [value]
        return {
            "task": task,
            "encoder": encoder,
            "protocol": protocol,
            "subset": f"{fraction:.0%}",
            "fraction": fraction,
            "shots": None,
            "examples": 100,
            "seeds": len(metric["per_seed"]),
            "metrics": {"macro_f1": metric, "accuracy": metric},
            "chosen": {"C": 0.01},
        }

    return make


@pytest.fixture
def write_results(tmp_path):
    """write_results(rows, …): the path of a results.json of format 1."""

    def write(rows, *, differences=(), number=1, cohorts=None):
        content = {
            "format": number,
            "rows": rows,
            "encoders": dict.fromkeys(each["encoder"] for each in rows),
            "tasks": {
                each["task"]: {"cohort": (cohorts or {}).get(each["task"], each["task"])}
                for each in rows
            },
            "differences": list(differences),
        }
        path = tmp_path / "results.json"
        path.write_text(json.dumps(content))
        return path

    return write
