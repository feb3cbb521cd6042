"""Plan → text to run elsewhere: shell commands, an array job for Slurm, phases for a pod."""

import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from histo_simclr.experiment import plan as plans
from histo_simclr.experiment.declared import Experiment
from histo_simclr.experiment.plan import Piece, Places, Plan


def shell(experiment: Experiment, places: Places, plan: Plan) -> str:
    """The commands that --run runs, as a script."""
    lines = _head(experiment, plan, ["As one script, or line by line; again to go on."])
    for piece in plan.mixes:
        lines.append(_once(piece))
    lines += [_command(piece) for piece in (*plan.pretrainings, plan.evaluation)]
    return _text([*lines, _collect(experiment, places)])


def slurm(experiment: Experiment, places: Places, plan: Plan) -> str:
    """A script that makes the mixes where it is started and submits itself for the rest."""
    last = len(plan.pretrainings) - 1
    notes = [
        f"Save as {experiment.name}.sbatch; start it on a login node with what your cluster needs:",
        f"  bash {experiment.name}.sbatch --partition=gpu --account=…",
        "Makes the mixes here, submits a job array for the pretrainings and the evaluation after",
        "them. The same again goes on: a finished pretraining ends at once, one that ran into its",
        "time limit was saved five minutes before.",
    ]
    directives = [
        f"#SBATCH --job-name={experiment.name}",
        "#SBATCH --nodes=1",
        "#SBATCH --ntasks-per-node=1",
        "#SBATCH --gpus-per-node=1",
        "#SBATCH --cpus-per-task=16",
        "#SBATCH --time=24:00:00",
        "#SBATCH --signal=TERM@300",
        f"#SBATCH --output={places.out}/logs/slurm_%A_%a.log",
    ]
    lines = _head(experiment, plan, notes, directives)
    lines.insert(lines.index("set -euo pipefail") + 1, 'script=$(realpath "$0")')
    lines += _phases(experiment, places, plan, launch="srun ")
    lines += [
        'case "${1-}" in',
        '  pretrain) pretrain "$SLURM_ARRAY_TASK_ID" ;;',
        "  evaluate) evaluate ;;",
        "  *)",
        "    mixes",
        f"    mkdir -p {_quoted(places.out / 'logs')}",
        f'    job=$(sbatch --parsable "$@" --array=0-{last} "$script" pretrain)',
        '    sbatch "$@" --dependency="afterok:${job%%;*}" "$script" evaluate',
        "    ;;",
        "esac",
    ]
    return _text(lines)


def pod(experiment: Experiment, places: Places, plan: Plan) -> str:
    """A script of phases: pretraining by the same command on every host, the rest on one."""
    last = len(plan.pretrainings) - 1
    name = f"{experiment.name}.sh"
    notes = [
        f"Save as {name} on every host, beside the same code; {places.out} and the record",
        "sets at the same paths, the former in a file system that all hosts share.",
        f"  on one host:     bash {name} mixes",
        f"  on every host:   bash {name} pretrain 0   (then 1, … {last}; without a number: all)",
        f"  on one host:     bash {name} evaluate && bash {name} collect",
        "                   (one process: on a TPU host's CPUs, elsewhere EVALUATE_ON=cuda)",
        "Every host of Cloud TPU VMs:",
        f"  gcloud compute tpus tpu-vm ssh NAME --worker=all --command='bash {name} pretrain'",
        "The same again goes on from the last checkpoint.",
    ]
    lines = _head(experiment, plan, notes)
    lines += ["export HISTO_SIMCLR_POD=1"]
    lines += _phases(experiment, places, plan, launch="", collects=False)
    lines += [
        'case "${1-}" in',
        "  mixes) mixes ;;",
        f'  pretrain) for number in ${{2:-$(seq 0 {last})}}; do pretrain "$number"; done ;;',
        '  evaluate) HISTO_SIMCLR_POD=0 JAX_PLATFORMS="${EVALUATE_ON:-cpu}" evaluate ;;',
        f"  collect) {_collect(experiment, places)} ;;",
        '  *) echo "mixes, pretrain [NUMBER], evaluate or collect" >&2 && exit 2 ;;',
        "esac",
    ]
    return _text(lines)


TARGETS: dict[str, Callable[[Experiment, Places, Plan], str]] = {
    "shell": shell,
    "slurm": slurm,
    "pod": pod,
}


def _head(
    experiment: Experiment, plan: Plan, notes: Sequence[str], directives: Sequence[str] = ()
) -> list[str]:
    about = [f"{experiment.title} ({experiment.file})", experiment.note]
    about += [plans.size_of(experiment, plan), *notes]
    return [
        "#!/usr/bin/env bash",
        *directives,
        *(f"# {line}" for line in about),
        "set -euo pipefail",
        f"cd {_quoted(experiment.root)}",
        f"PYTHON=${{PYTHON:-{_quoted(sys.executable)}}}",
    ]


def _phases(
    experiment: Experiment, places: Places, plan: Plan, *, launch: str, collects: bool = True
) -> list[str]:
    """Functions of the script: mixes, pretrain NUMBER, evaluate."""
    lines = ["mixes() {", *(f"  {_once(piece)}" for piece in plan.mixes), "}"]
    lines += ["pretrain() {", '  case "$1" in']
    for number, piece in enumerate(plan.pretrainings):
        # Saved before it was finished is no success: what comes after must not begin.
        there = f"[ -e {_quoted(piece.made)} ]"
        lines.append(f"    {number}) {launch}{_command(piece)} && {there} ;;")
    lines += ["  esac", "}"]
    lines += ["evaluate() {", f"  {launch}{_command(plan.evaluation)}"]
    lines += [f"  {_collect(experiment, places)}"] if collects else []
    return [*lines, "}"]


def _command(piece: Piece) -> str:
    return f'"$PYTHON" {shlex.join(piece.arguments)}'


def _once(piece: Piece) -> str:
    return f"[ -e {_quoted(piece.made)} ] || {_command(piece)}"


def _collect(experiment: Experiment, places: Places) -> str:
    return f'"$PYTHON" {shlex.join(collect_arguments(experiment, places))}'


def collect_arguments(experiment: Experiment, places: Places) -> list[str]:
    """Arguments of `python` that collect what the commands made."""
    arguments = ["-m", "histo_simclr", "experiment", experiment.file, "--out", str(places.out)]
    return [*arguments, "--records", *places.records, "--collect"]


def _quoted(path: Path | str) -> str:
    return shlex.quote(str(path))


def _text(lines: Sequence[str]) -> str:
    return "\n".join(lines) + "\n"
