"""Experiment → commands: mixes, then pretrainings, then one evaluation of all of them.

Runs that need the same mix, or the same pretraining, share it. The evaluation is one, so that
encoders are compared on the same test patches, in pairs, with one correction for many tests.
"""

from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple

from histo_simclr.errors import InputError
from histo_simclr.experiment.declared import Experiment, Run, override
from histo_simclr.prepare import mix_settings


class Places(NamedTuple):
    """What differs between machines.

    Fields:
      out: folder of the experiment.
      records: folders of record sets to mix from.
      data: folder of the labelled record sets; "": where the evaluation's configuration says.
      skip_missing: go on without cohorts and tasks whose record sets are not there.
    """

    out: Path
    records: tuple[str, ...]
    data: str
    skip_missing: bool


class Piece(NamedTuple):
    """One command.

    Fields:
      kind: mix, pretrain or evaluate.
      name: of its folder; unique within its kind.
      arguments: what follows `python`.
      made: file that is there once the command is finished; written last.
      needs: names of the mix (of a pretraining) or of the pretrainings (of the evaluation).
    """

    kind: str
    name: str
    arguments: tuple[str, ...]
    made: Path
    needs: tuple[str, ...]


class Plan(NamedTuple):
    """All pieces, and which pretraining each run with each seed is.

    Fields:
      mixes, pretrainings: in the order in which they are first needed.
      evaluation: of all pretrainings.
      encoders: (run, seed) → name of the pretraining, and of the encoder in the results.
    """

    mixes: list[Piece]
    pretrainings: list[Piece]
    evaluation: Piece
    encoders: dict[tuple[str, int], str]

    @property
    def pieces(self) -> list[Piece]:
        """In the order in which they are done."""
        return [*self.mixes, *self.pretrainings, self.evaluation]


def make(experiment: Experiment, places: Places) -> Plan:
    """The commands of an experiment.

    Raises:
      InputError: it is not known where the record sets lie; a path that the evaluation cannot take.
    """
    if not places.records:
        raise InputError(
            f"{experiment.file} does not say where the record sets lie",
            where="--records",
            way_out="give --records DIR, what `histo-simclr prepare --out DIR` wrote",
        )
    if set(",=") & set(str(places.out)):
        raise InputError(
            "a comma or = in the path", where=f"--out {places.out}", way_out="choose another"
        )
    mixes: dict[tuple[str, ...], Piece] = {}
    pretrainings: dict[tuple[str, ...], Piece] = {}
    encoders = {}
    for seed in experiment.seeds:
        for run in experiment.runs:
            name = f"{run.name}_seed{seed}"
            mix = _mix(run, seed, name, places)
            mix = mixes.setdefault(mix.arguments[:-1], mix)  # the last says where it is written
            pretraining = _pretraining(experiment, run, seed, name, mix, places)
            pretraining = pretrainings.setdefault(pretraining.arguments[:-1], pretraining)
            encoders[run.name, seed] = pretraining.name
    names = [piece.name for piece in pretrainings.values()]
    return Plan(
        [*mixes.values()],
        [*pretrainings.values()],
        evaluation(experiment, places, names),
        encoders,
    )


def evaluation(experiment: Experiment, places: Places, names: Collection[str]) -> Piece:
    """The evaluation of these pretrainings."""
    out = places.out / "evaluation"
    checkpoints = ",".join(f"{name}={places.out / 'runs' / name}" for name in names)
    settings = dict(experiment.evaluate_overrides)
    if places.data:
        settings["data"] = places.data
    if places.skip_missing:
        settings["skip_missing"] = True
    arguments = (
        "main.py",
        f"--config={experiment.evaluate}",
        override("checkpoints", checkpoints),
        *(override(*each) for each in settings.items()),
        f"--workdir={out}",
    )
    return Piece("evaluate", experiment.name, arguments, out / "results.json", tuple(names))


def is_finished(piece: Piece) -> bool:
    """Whether its result is there. An evaluation is always asked again: it keeps its own cells."""
    return piece.kind != "evaluate" and piece.made.is_file()


def size_of(experiment: Experiment, plan: Plan) -> str:
    """How much there is to do, in one line."""
    passes = experiment.steps * experiment.batch_size
    return (
        f"{len(plan.mixes)} mixes; {len(plan.pretrainings)} pretrainings of {experiment.steps:,} "
        f"steps of {experiment.batch_size} = {passes:,} patch passes each, "
        f"{passes * len(plan.pretrainings):,} in all; 1 evaluation of them all"
    )


def _mix(run: Run, seed: int, name: str, places: Places) -> Piece:
    out = places.out / "mixes" / name
    settings: dict[str, Any] = run.mix | {"seed": seed}
    if places.skip_missing:
        settings["skip_missing"] = True
    flags: list[str] = []
    for key, value in settings.items():
        if value is True:
            flags.append(mix_settings.flag(key))
        elif value is False:
            flags.append(mix_settings.flag(f"no_{key}"))
        elif value != ():
            values = value if isinstance(value, tuple | list) else (value,)
            flags += [mix_settings.flag(key), *map(str, values)]
    arguments = ("-m", "histo_simclr", "mix", *places.records, *flags, "--out", str(out))
    return Piece("mix", name, arguments, out / "mix.json", ())


def _pretraining(
    experiment: Experiment, run: Run, seed: int, name: str, mix: Piece, places: Places
) -> Piece:
    out = places.out / "runs" / name
    steps_per_epoch = run.mix["size"] // experiment.batch_size
    if not steps_per_epoch:
        raise InputError(
            f"{run.mix['size']} patches, fewer than a batch of {experiment.batch_size}",
            where=f"{experiment.file}, run {run.name}",
            way_out="give a larger size, or batch_size among pretrain_overrides",
        )
    # Epochs of different length, so that all take equally many steps.
    epochs = experiment.steps / steps_per_epoch
    settings = {
        "data.mix": str(mix.made.parent),
        "seed": seed,
        "epochs": float(f"{epochs:.9g}"),
        "warmup_epochs": float(f"{epochs * experiment.warmup_share:.9g}"),
        **experiment.pretrain_overrides,
    }
    arguments = (
        "main.py",
        f"--config={experiment.pretrain}",
        *(override(*each) for each in settings.items()),
        f"--workdir={out}",
    )
    return Piece("pretrain", name, arguments, out / "finished.json", (mix.name,))
