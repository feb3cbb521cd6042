"""A suite's folder without a suite: results.json of format 1, looks and pictures, made of noise.

Numbers are of no network. Names hold what HTML gives a meaning to.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

OURS = 'simclr <18> & "mix"'
TASKS = {
    "pcam": ("classification", "macro_f1", ["normal", "tumor"], "slide"),
    "osteosarcoma": (
        "classification",
        "macro_f1",
        ["non-tumor", "necrosis", "viable & <x>"],
        "case",
    ),
    "cellularity": ("regression", "l1", [], "patient"),
    "glands": ("segmentation", "dice", ["rest", "gland"], "image"),
    "cases": ("slides", "macro_f1", ["benign", "malignant"], "patient"),
}
METRICS = {
    "classification": ("macro_f1", "accuracy", "balanced_accuracy", "auroc"),
    "slides": ("macro_f1", "accuracy", "balanced_accuracy", "auroc"),
    "regression": ("l1", "r2", "spearman"),
    "segmentation": ("dice", "iou", "dice_0", "dice_1"),
}
PROTOCOLS = {
    "classification": ("linear", "knn", "finetune"),
    "slides": ("mean_pool",),
    "regression": ("ridge",),
    "segmentation": ("unet_frozen",),
}
SUBSETS = [("100 %", 1.0, None), ("10 %", 0.1, None), ("1 %", 0.01, None)]
SUBSETS += [("10-shot", None, 10), ("1-shot", None, 1)]
ENCODERS = ("random init", "color histogram", "imagenet", OURS)


def results() -> dict[str, Any]:
    """A whole results.json; ask twice for two equal ones."""
    rng = np.random.default_rng(0)
    rows = [
        _row(rng, task, encoder, protocol, subset)
        for task, (kind, *_) in TASKS.items()
        for protocol in PROTOCOLS[kind]
        for encoder in (ENCODERS if protocol != "finetune" else (ENCODERS[0], OURS))
        for subset in (SUBSETS if protocol == "linear" else SUBSETS[:1])
    ]
    # Metrics that are not defined, as NaN is written.
    rows[0]["metrics"]["auroc"] = {"value": None, "low": None, "high": None, "sd": None}
    rows[0]["metrics"]["auroc"]["per_seed"] = [None]
    whole = {(r["task"], r["encoder"], r["protocol"]): r for r in rows if r["subset"] == "100 %"}
    return {
        "format": 1,
        "date": "2026-11-26",
        "versions": {"jax": "0.10.2", "numpy": "2.4.6"},
        "revision": "0123abc",
        "settings": {
            "resamples": 2000,
            "permutations": 9999,
            "seeds": [0, 1, 2],
            "fractions": [1.0],
        },
        "tasks": {name: _task(name) for name in TASKS},
        "encoders": {name: _encoder(name) for name in ENCODERS},
        "rows": rows,
        "differences": _differences(rng, whole),
        "tuning": [
            {
                "task": "pcam",
                "encoder": OURS,
                "protocol": "finetune",
                "subset": "100 %",
                "metric": "macro_f1",
                "first": "finetune",
                "second": "linear",
                "value": 0.0425,
                "low": 0.012,
                "high": 0.071,
                "p": 0.004,
                "p_holm": 0.0081,
                "exact": False,
                "swaps": 9999,
                "units": 20,
                "unit": "patients",
                "note": "",
            }
        ],
        "averages": [
            {
                "protocol": protocol,
                "kind": "classification",
                "metric": "macro_f1",
                "encoder": encoder,
                "value": float(
                    np.mean(
                        [
                            whole[task, encoder, protocol]["metrics"]["macro_f1"]["value"]
                            for task in ("pcam", "osteosarcoma")
                        ]
                    )
                ),
                "tasks": ["pcam", "osteosarcoma"],
            }
            for protocol in ("linear", "knn", "finetune")
            for encoder in ENCODERS
            if ("pcam", encoder, protocol) in whole
        ],
        "ranking": {
            "linear": {
                "encoders": list(ENCODERS),
                "ranks": [4.0, 2.5, 2.5, 1.0],
                "statistic": 5.2,
                "p": 0.158,
                "critical_difference": 2.71,
                "alike": [[OURS, "imagenet", "color histogram"], ["imagenet", "random init"]],
                "tasks": 3,
            }
        },
        "skipped": [{"task": "bach", "encoder": "", "protocol": "", "why": "records are not here"}],
        "notes": ["numbers of this file are noise"],
    }


def small() -> dict[str, Any]:
    """The same with two tasks, two protocols and hardly a figure: quick to draw."""
    content = results()
    tasks = ("pcam", "cellularity")
    kept = [
        row
        for row in content["rows"]
        if row["task"] in tasks
        and row["protocol"] in ("linear", "ridge")
        and row["subset"] == "100 %"
    ]
    for row in kept:
        row |= {"per_class": None, "confusion": None, "calibration": None}
    content |= {"rows": kept, "averages": [], "ranking": {}, "tuning": []}
    content["tasks"] = {name: content["tasks"][name] for name in tasks}
    content["differences"] = [
        each
        for each in content["differences"]
        if each["task"] in tasks and each["protocol"] in ("linear", "ridge")
    ]
    return content


def write(folder: Path, content: dict[str, Any] | None = None, *, looks: bool = True) -> Path:
    """Writes results.json and all that it names into `folder`, which is made."""
    content = results() if content is None else content
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(content))
    for name in ("pictures/glands.png", "pictures/other.png"):
        _picture(folder / name)
    if looks:
        for number, name in enumerate(("imagenet", OURS)):
            _picture(folder / f"looks/{number}/neighbors.png")
            (folder / f"looks/{number}.json").write_text(json.dumps(_look(name, number)))
    return folder


def _entry(rng: np.random.Generator, value: float, seeds: int) -> dict[str, Any]:
    each = (value + rng.normal(0, 0.01, seeds)).tolist()
    sd = float(np.std(each, ddof=1)) if seeds > 1 else None
    mean = float(np.mean(each))
    return {"value": mean, "low": mean - 0.03, "high": mean + 0.03, "sd": sd, "per_seed": each}


def _row(rng, task: str, encoder: str, protocol: str, subset: tuple) -> dict[str, Any]:
    kind, _, classes, _ = TASKS[task]
    label, fraction, shots = subset
    share = fraction if fraction is not None else shots * len(classes) / 1000
    value = 0.55 + 0.08 * ENCODERS.index(encoder) + 0.03 * np.log10(share)
    seeds = 3 if protocol == "finetune" or label != "100 %" else 1
    values = {name: 1 - value if name == "l1" else value for name in METRICS[kind]}
    row = {
        "task": task,
        "encoder": encoder,
        "protocol": protocol,
        "subset": label,
        "fraction": fraction,
        "shots": shots,
        "examples": max(1, round(1000 * share)),
        "seeds": seeds,
        "metrics": {name: _entry(rng, each, seeds) for name, each in values.items()},
        "chosen": {"C": 0.01} if protocol == "linear" else {},
        "per_class": None,
        "confusion": None,
        "calibration": None,
        "pictures": [],
    }
    if label == "100 %" and kind in ("classification", "slides"):
        row |= _by_class(rng, classes)
    if kind == "segmentation":
        row["pictures"] = ["pictures/glands.png"] if encoder == OURS else []
        row["per_class"] = [
            {"class": name, "dice": value - 0.1 * place, "iou": 0.3, "object_f1": None}
            for place, name in enumerate(classes)
        ]
    if protocol == "linear" and encoder == OURS:
        row["notes"] = ["C = 0.01 is at the end of the strengths tried"]
    return row


def _by_class(rng: np.random.Generator, classes: list[str]) -> dict[str, Any]:
    matrix = rng.integers(1, 30, (len(classes),) * 2) + 90 * np.eye(len(classes), dtype=int)
    recall, precision = (np.diag(matrix) / matrix.sum(axis) for axis in (1, 0))
    count = np.array([0, 0, 5, 40, 55])
    return {
        "per_class": [
            {
                "class": name,
                "precision": float(precision[place]),
                "recall": float(recall[place]),
                "f1": float(2 / (1 / precision[place] + 1 / recall[place])),
                "support": int(matrix[place].sum()),
            }
            for place, name in enumerate(classes)
        ],
        "confusion": matrix.tolist(),
        "calibration": {
            "edges": [0, 0.2, 0.4, 0.6, 0.8, 1],
            "count": count.tolist(),
            "confidence": [None, None, 0.55, 0.71, 0.93],
            "accuracy": [None, None, 0.4, 0.66, 0.85],
            "error": 0.0642,
            "brier": 0.317,
        },
    }


def _task(name: str) -> dict[str, Any]:
    kind, metric, classes, unit = TASKS[name]
    leak = {
        "kind": "near",
        "where": "the mix",
        "patches": 3,
        "of": 240,
        "examples": ["a = b (4 bits)"],
    }
    blind = ["slides and patients of the mix are unknown: only pixels were compared"]
    return {
        "kind": kind,
        "metric": metric,
        "about": f"{name}: is it what it is? 96 px at 0.5 µm/px",
        "cohort": name,
        "licence": "CC0-1.0",
        "citation": "Somebody et al., https://example.org/1, 2020",
        "split_rule": f"whole {unit}s, the authors' split",
        "prepare": f"histo-simclr prepare tfds:{name} --name {name} --px 96",
        "classes": classes,
        "train": {"patches": 2000, "groups": 40, "unit": unit},
        "test": {"patches": 1000, "groups": 1 if name == "osteosarcoma" else 20, "unit": unit},
        "notes": ["a test set of one case"] if name == "osteosarcoma" else [],
        "leaks": {
            "train split": {"leaks": [], "notes": []},
            OURS: {"leaks": [leak] if name == "osteosarcoma" else [], "notes": blind},
        },
    }


def _encoder(name: str) -> dict[str, Any]:
    kinds = {"random init": "random", "color histogram": "histogram", "imagenet": "features"}
    about: dict[str, Any] = {
        "kind": kinds.get(name, "checkpoint"),
        "description": f"{name}: weights",
    }
    if name == OURS:
        about |= {"arch": "resnet18", "px": 96, "mean": [0.5] * 3, "std": [0.5] * 3, "step": 122}
    return about


def _differences(rng: np.random.Generator, whole: dict) -> list[dict[str, Any]]:
    found = []
    for (task, second, protocol), row in whole.items():
        for first in ("imagenet", OURS):
            if first == second or (task, first, protocol) not in whole:
                continue
            metric, unit = TASKS[task][1], TASKS[task][3]
            value = (
                whole[task, first, protocol]["metrics"][metric]["value"]
                - row["metrics"][metric]["value"]
            )
            half, p = 0.09 + rng.uniform(0, 0.02), float(rng.uniform(0, 0.06))
            found.append(
                {
                    "task": task,
                    "protocol": protocol,
                    "subset": "100 %",
                    "metric": metric,
                    "first": first,
                    "second": second,
                    "value": value,
                    "low": value - half,
                    "high": value + half,
                    "p": p,
                    "p_holm": min(1.0, 3 * p),
                    "exact": False,
                    "swaps": 9999,
                    "units": 20,
                    "unit": f"{unit}s",
                    "note": "" if abs(value) > half else f"too small to tell: 20 test {unit}s",
                }
            )
    return found


def _look(name: str, number: int) -> dict[str, Any]:
    return {
        "encoder": name,
        "pictures": [
            {
                "title": "Nearest neighbors",
                "caption": "Each row: a patch, and the 8 nearest patches of other slides.",
                "file": f"looks/{number}/neighbors.png",
            }
        ],
        "tables": [
            {
                "title": "Batch effect",
                "columns": ["label", "balanced accuracy", "chance"],
                "rows": [["cohort", 0.81234567, 0.5], ["stain", None, 0.5]],
                "note": "Near chance, the features do not tell.",
            },
            {"title": "Drift", "columns": [], "rows": [], "note": "Left out: no encoder."},
        ],
        "robustness": {
            "effects": [
                {
                    "tasks": "all tasks",
                    "nuisances": ["cohort", "stain"],
                    "nuisance": {"balanced_accuracy": 0.91, "chance": 0.5},
                    "tissue": {"balanced_accuracy": 0.72, "chance": 0.25},
                    "other": 0.31,
                    "expected": 0.52,
                    "robustness_index": 0.61 + number / 10,
                    "robustness_index_if_blind": None,
                }
            ]
        },
    }


def _picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(1).integers(0, 255, (60, 240, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
