"""Was a suite's test data seen before? Its training splits and every checkpoint's mix are asked."""

from collections.abc import Sequence
from pathlib import Path

from histo_simclr.errors import InputError
from histo_simclr.evaluate import leaks, seen
from histo_simclr.prepare import relatives
from histo_simclr.suite.encoders import Candidate
from histo_simclr.suite.tasks import Task

TRAINING = "the training split"


def find(
    opened: Sequence[Task], found: Sequence[Candidate], *, distance: int
) -> dict[str, dict[str, leaks.Report]]:
    """Task → where it was looked for ("the training split", or an encoder's name) → report.

    Args:
      opened: tasks.
      found: encoders; of floors there is nothing to ask, of foreign features nothing is known.
      distance: bits in which perceptual hashes of look-alikes differ at most.
    """
    overlaps = relatives.known().overlaps
    exposed = {each.name: _seen(each) for each in found if each.kind == "checkpoint"}
    unknown = leaks.Report((), ("what these features were trained on is unknown to us",))
    reports: dict[str, dict[str, leaks.Report]] = {}
    for task in opened:
        test = leaks.patches_of(task.test.columns)
        train = leaks.patches_of(task.train.columns)
        reports[task.name] = {
            TRAINING: leaks.compare(
                test, train, where=TRAINING, distance=distance, overlaps=overlaps
            )
        }
        for each in found:
            if each.kind == "checkpoint":
                what, notes = exposed[each.name]
                reports[task.name][each.name] = seen.check(
                    test, what, distance=distance, overlaps=overlaps
                ) + leaks.Report((), notes)
            elif each.kind == "features":
                reports[task.name][each.name] = unknown
    return reports


def refuse(reports: dict[str, dict[str, leaks.Report]]) -> None:
    """InputError that lists every leak, if there is one."""
    listed = [
        f"{task}, {name}: {leak}"
        for task, by_name in reports.items()
        for name, report in by_name.items()
        for leak in report.leaks
    ]
    if listed:
        raise InputError(
            f"test data was seen before ({len(listed)} finding(s))",
            where="evaluate",
            way_out="leave these patches or tasks out, pretrain on a mix without them (mix "
            "--evaluate-on), or accept it, and have it in the report: --config.allow_leaks=True",
            listed=listed,
        )


def _seen(candidate: Candidate) -> tuple[seen.Seen, tuple[str, ...]]:
    """What a checkpoint saw, and a note where its mix is no longer where it was."""
    # Imported weights were trained by no configuration of ours.
    data = dict(candidate.provenance.config).get("data")
    if not data:
        return seen.seen_by(candidate.provenance, None), ()
    try:
        return seen.seen_by(candidate.provenance, Path(data["mix"])), ()
    except InputError as error:
        note = f"{error.where} {error.what}: its cohorts alone were compared"
        return seen.seen_by(candidate.provenance, None), (note,)
