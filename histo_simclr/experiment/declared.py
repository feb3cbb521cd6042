"""What an experiment file declares, read and checked before anything is made.

The files are configs/experiments/*.py; each returns, by preset:

  program             "experiment"
  title, question     of pictures and tables
  variable            what differs between the runs
  note                printed first: what to expect at this scale
  records             folders of record sets to mix from; () where --records has to say
  runs                list of {"name", "value", "mix": settings of `histo-simclr mix`}; "size" of
                      the mix has to be among them, as the number of epochs follows from it. "value"
                      None: the evaluation's label fractions are the variable
  seeds               every run is done with each: of its mix, its parameters, its order of patches
  steps               of every pretraining
  pretrain, evaluate  configurations, NAME.py:preset, and what to set in them:
  pretrain_overrides, evaluate_overrides
  paper               list of what the paper says: {"says", "number", "of": (series, value)} and
                      perhaps "minus": (series, value), "task", "protocol". A series is "pretrained"
                      or the name of another encoder that the evaluation has beside it
"""

import re
from pathlib import Path
from typing import Any, NamedTuple

import ml_collections

from histo_simclr import config as configs
from histo_simclr.errors import InputError
from histo_simclr.prepare import mix_settings


class Run(NamedTuple):
    """One point of the experiment, to be done with each seed.

    Fields:
      name: of folders and encoders.
      value: of the variable: a number, a word, or None where label fractions are the variable.
      mix: settings of `histo-simclr mix`, "recipe" and "size" among them.
    """

    name: str
    value: int | float | str | None
    mix: dict[str, Any]


class Claim(NamedTuple):
    """What the paper says, and which of our numbers stands beside it.

    Fields:
      says: in words.
      number: as the paper has it, or "not recovered".
      of, minus: (series, value of the variable); minus None: a level, not a difference.
      task: of our tasks, or "mean" over them.
      protocol: of the evaluation; None: each that there is.
    """

    says: str
    number: str
    of: tuple[str, Any]
    minus: tuple[str, Any] | None = None
    task: str = "mean"
    protocol: str | None = None


class Experiment(NamedTuple):
    """An experiment at one scale; fields as in the module's docstring.

    Fields besides:
      name, preset: of the file.
      file: as given, with :preset.
      root: folder of main.py, in which every command runs.
      batch_size: patches of a step.
      warmup_share: of the steps.
    """

    name: str
    preset: str
    file: str
    root: Path
    title: str
    question: str
    variable: str
    note: str
    records: tuple[str, ...]
    runs: tuple[Run, ...]
    seeds: tuple[int, ...]
    steps: int
    pretrain: str
    pretrain_overrides: dict[str, Any]
    evaluate: str
    evaluate_overrides: dict[str, Any]
    paper: tuple[Claim, ...]
    batch_size: int
    warmup_share: float


_FIELDS = {
    **dict.fromkeys(("title", "question", "variable", "note", "pretrain", "evaluate"), str),
    **dict.fromkeys(("records", "runs", "seeds", "paper"), (list, tuple)),
    **dict.fromkeys(("pretrain_overrides", "evaluate_overrides"), ml_collections.ConfigDict),
    "steps": int,
}


def read(file: str) -> Experiment:
    """The experiment that a file declares.

    Args:
      file: configs/experiments/NAME.py, with :preset or without.

    Raises:
      InputError: no such file or preset; a key is missing or of another kind; a setting that the
        mix, the pretraining or the evaluation does not have.
    """
    path, _, preset = file.partition(":")
    config = configs.load(file, program="experiment")
    _check_fields(config, path)
    root = _root(Path(path))
    pretraining = _overridden(config.pretrain, config.pretrain_overrides, root, "pretrain")
    _overridden(config.evaluate, config.evaluate_overrides, root, "evaluate")
    content = {name: config[name] for name in _FIELDS}
    content |= {
        "records": tuple(config.records),
        "runs": tuple(_run(each, path) for each in config.runs),
        "seeds": tuple(config.seeds),
        "paper": tuple(_claim(each, path) for each in config.paper),
        "pretrain_overrides": _flat(config.pretrain_overrides),
        "evaluate_overrides": _flat(config.evaluate_overrides),
    }
    names = [run.name for run in content["runs"]]
    if not names or not content["seeds"] or content["steps"] < 1 or len({*names}) < len(names):
        raise InputError(
            "has no run, no seed or no step, or two runs of one name",
            where=path,
            way_out="declare them, see histo_simclr/experiment/declared.py",
        )
    return Experiment(
        name=Path(path).stem,
        preset=preset or "sample",
        file=file,
        root=root,
        batch_size=pretraining["batch_size"],
        warmup_share=pretraining["warmup_epochs"] / pretraining["epochs"],
        **content,
    )


def override(key: str, value: Any) -> str:
    """The flag that sets a key of a configuration."""
    return f"--config.{key}={value}"


def _check_fields(config: ml_collections.ConfigDict, path: str) -> None:
    for name, kind in _FIELDS.items():
        if name not in config or not isinstance(config[name], kind):
            raise InputError(
                f"{name} is missing or of another kind",
                where=path,
                way_out="see histo_simclr/experiment/declared.py for what an experiment declares",
            )


def _root(path: Path) -> Path:
    for folder in path.absolute().parents:
        if (folder / "main.py").is_file():
            return folder
    raise InputError(
        "lies in no copy of the repository: no main.py above it",
        where=path,
        way_out="put it into configs/experiments",
    )


def _overridden(
    name: str, overrides: ml_collections.ConfigDict, root: Path, program: str
) -> dict[str, Any]:
    """The configuration, flat, with what the experiment sets in it."""
    config = configs.load(str(root / name), program=program)
    flat = _flat(overrides)
    configs.check_overrides(config, [override(*each) for each in flat.items()])
    return _flat(config) | flat


def _flat(config: ml_collections.ConfigDict) -> dict[str, Any]:
    leaves = {}
    for key, value in config.items():
        if isinstance(value, ml_collections.ConfigDict):
            leaves |= {f"{key}.{below}": leaf for below, leaf in _flat(value).items()}
        else:
            leaves[key] = value
    return leaves


def _run(given: Any, path: str) -> Run:
    try:
        run = Run(**given)
    except TypeError as error:
        raise InputError(
            f"a run has other keys than {', '.join(Run._fields)}", where=path, way_out="give these"
        ) from error
    where = f"{path}, run {run.name}"
    if not isinstance(run.name, str) or not re.fullmatch(r"[A-Za-z0-9._+-]+", run.name):
        raise InputError("no name for a folder", where=where, way_out="use letters, digits, ._+-")
    if "size" not in run.mix:
        raise InputError("its mix has no size", where=where, way_out='give "size"')
    known = {*mix_settings.SETTINGS, "recipe"} - {"seed"}
    if unknown := [*run.mix.keys() - known]:
        raise InputError(
            f"no setting {unknown[0]!r} of a mix that a run may have",
            where=where,
            way_out=f"one of {', '.join(sorted(known))}",
        )
    for name, value in run.mix.items():
        if name != "recipe" and value != ():
            plain = list(value) if isinstance(value, tuple) else value
            mix_settings.typed(name, plain, f"{where}, {name}")
    return run


def _claim(given: Any, path: str) -> Claim:
    try:
        return Claim(**given)
    except TypeError as error:
        raise InputError(
            f"what the paper says has other keys than {', '.join(Claim._fields)}",
            where=path,
            way_out="give these",
        ) from error
