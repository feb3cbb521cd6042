"""What an earlier run has left: files that are complete, failures that stand, a table to go on."""

from collections.abc import Sequence
from pathlib import Path

from histo_simclr.embed import feature_file, shares, slide_ends
from histo_simclr.embed.feature_file import Encoder
from histo_simclr.embed.layouts import Places
from histo_simclr.embed.shares import Share
from histo_simclr.embed.slide_ends import End, Ends
from histo_simclr.errors import InputError
from histo_simclr.prepare import parts, storage, survey
from histo_simclr.prepare.survey import Task


def settings_of(task: Task) -> str:
    """Digest of all that decides a slide's places: its file, settings, code and libraries."""
    return storage.name(parts.job(survey.survey, task, "").path).rpartition("-")[2]


def kept(
    tasks: Sequence[Task],
    settings: dict[str, str],
    places: Places,
    earlier: dict[str, End],
    *,
    encoder: Encoder,
    dtype: str,
    retry_failed: bool,
) -> dict[str, End]:
    """Slides with which nothing is to be done, by name: those done, and those that failed before.

    What failed is tried again when its file or a setting has changed.

    Args:
      tasks: the slides.
      settings: `settings_of` each, by name.
      places: where their files are.
      earlier: how slides ended in earlier runs, by name.
      encoder, dtype: of the features wanted.
      retry_failed: whether those that failed are tried again in any case.

    Raises:
      InputError: files of another encoder, or of another program, are there.
    """
    found, strangers, others = {}, [], []
    for task in tasks:
        wsi, path = task.row.wsi, places.feature_file(task.row.slide)
        stored, before = feature_file.stored(path), earlier.get(task.row.wsi)
        coords = places.coords_file(task.row.slide)
        others += [each for each in (path, coords) if feature_file.is_of_others(each)]
        if stored is not None and stored.encoder != encoder:
            strangers.append(path)
        elif stored is not None and (stored.dtype, stored.settings) == (dtype, settings[wsi]):
            status = slide_ends.status_of(stored.count)
            end = End(wsi, task.row.slide, status, patches=stored.count, settings=settings[wsi])
            is_same = before is not None and (before.status, before.patches) == (
                end.status,
                end.patches,
            )
            if is_same or not wsi.lower().endswith(".dcm"):
                found[wsi] = before if is_same else end
            # Else the table with its DICOM series is gone: looked at again, not computed again.
        elif before and before.is_bad and not retry_failed and before.settings == settings[wsi]:
            found[wsi] = before
    if strangers:
        raise InputError(
            f"{len(strangers)} files with features of another encoder, e.g. {strangers[0].name}",
            where=places.features,
            way_out="give another --out or another --name, or delete that folder",
        )
    if others:
        raise InputError(
            f"{len(others)} files that histo-simclr did not write, e.g. {others[0].name}",
            where=others[0].parent,
            way_out="give another --out, or move them away",
        )
    return found


def table(out: Path, share: Share, kept: dict[str, End], mine: set[str]) -> Ends:
    """The table of this process, begun with the slides kept and all that are not its own.

    A process that has all slides takes over the tables of shares.

    Args:
      out: its folder.
      share: of this process.
      kept: slides with which nothing is to be done.
      mine: names of all slides of this process.
    """
    path = slide_ends.file_of(out, share)
    others = slide_ends.earlier(out) if share == shares.ALL else slide_ends.read(path)
    ends = Ends(path, [*(end for wsi, end in others.items() if wsi not in mine), *kept.values()])
    if share == shares.ALL:
        for old in out.glob("embed.*of*.csv"):
            old.unlink()
    return ends
