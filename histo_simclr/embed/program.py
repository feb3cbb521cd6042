"""Slides → features in HDF5: the whole job of `histo-simclr embed`, for Python as well.

checked → refused or gone on with → read, encoded and written, slide by slide → how it went.
"""

import contextlib
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax

from histo_simclr import mesh as meshes
from histo_simclr.embed import also, feature_file, layouts, model, reading, shares, slide_ends
from histo_simclr.embed import options as settings_of
from histo_simclr.embed.batches import Batches
from histo_simclr.embed.job import Slides
from histo_simclr.embed.layouts import Job, Places
from histo_simclr.embed.model import Model
from histo_simclr.embed.options import Options
from histo_simclr.embed.reading import Failed
from histo_simclr.embed.slide_ends import End, Ends
from histo_simclr.errors import InputError
from histo_simclr.evaluate import extract
from histo_simclr.prepare import inspection, parts, pool, slide_flags, slide_list, storage, survey
from histo_simclr.prepare.engine import LOCAL, Engine
from histo_simclr.prepare.item import Item
from histo_simclr.prepare.progress import Progress
from histo_simclr.prepare.survey import Sampling
from histo_simclr.slides import resolution
from histo_simclr.slides.grid import Target

# More than any slide has: all places with tissue are taken.
_ALL_PLACES = 10**9


def embed(
    slides: str | Path | Sequence[str | Path],
    checkpoint: str | Path,
    out: str | Path,
    **options: Any,
) -> dict[str, Any]:
    """Features of every patch with tissue, one HDF5 file a slide; goes on where it was stopped.

    Slides are read in processes of their own, started anew: a script that calls this needs
    `if __name__ == "__main__":` around it.

    Args:
      slides: slide files, folders of them, CSVs with a column `path`; or one of these.
      checkpoint: the encoder: workdir, a step's folder, imported folder.
      out: folder for the results; may hold those of an earlier, unfinished run.
      options: fields of `options.Options`.

    Returns:
      "slides": status → number; "ends": how each slide ended, as dicts of `slide_ends.End`;
      "patches" encoded now; "seconds": of wall, compile, read (all readers together), encode,
      write; "busy": share of the wall time for which the devices had work, 0 when there was none;
      "features": folder of the files; "table": the path of embed.csv.

    Raises:
      InputError: bad options, no slides, results of another encoder in `out`, which is then left
        as it was; a place that cannot be written, which ends the job: files that are done stay.
    """
    chosen = Options(**options)
    encoder = model.load(checkpoint)
    px = chosen.px or encoder.provenance.px
    settings_of.check(chosen, px)
    mpp = model.mpp_for(encoder, chosen.mpp, checkpoint)
    job = Job(
        chosen.layout,
        chosen.name or f"histo_simclr_{encoder.provenance.arch}",
        mpp,
        px,
        chosen.overlap,
        model.attributes(encoder, px),
    )
    given = [slides] if isinstance(slides, str | Path) else slides
    tasks, lost = _tasks([str(each) for each in given], chosen, mpp, px)
    places = layouts.places(Path(out), job)
    done = _done(tasks, places, encoder, chosen)
    earlier = slide_ends.earlier(Path(out)) if Path(out).is_dir() else {}
    kept = _kept(tasks, done, earlier, chosen.retry_failed)
    _make_folders(Path(out), places)
    ends = _opened_ends(Path(out), chosen.share, kept, earlier, {task.row.wsi for task in tasks})
    for end in lost:
        ends.add(end)
    with contextlib.closing(ends):
        for task in tasks:
            if task.row.wsi in kept and kept[task.row.wsi].is_good:
                also.write(places.feature_file(task.row.slide), chosen.copies)
        todo = [task for task in tasks if task.row.wsi not in kept]
        told = _run(todo, job, places, ends, encoder, chosen)
    names = {task.row.wsi for task in tasks} | {end.wsi for end in lost}
    rows = [end for wsi, end in sorted(ends.rows.items()) if wsi in names]
    return told | {
        "slides": dict(Counter(end.status for end in rows)),
        "ends": [end._asdict() for end in rows],
        "kept": len(kept),
        "features": places.features,
        "table": slide_ends.file_of(Path(out), chosen.share),
    }


def _tasks(
    given: list[str], chosen: Options, mpp: float, px: int
) -> tuple[list[survey.Task], list[End]]:
    """The slides of this share, and those that their source says cannot be used."""
    if remote := [each for each in given if storage.is_remote(each)]:
        storage.local_path(remote[0])
    items, _ = slide_list.find(given, defaults=Item("", ""), pattern="", labels="")
    if remote := [str(item.data) for item in items if storage.is_remote(str(item.data))]:
        storage.local_path(remote[0])
    found = inspection.Slides(
        items=items,
        set_aside=[],
        mpp=resolution.read_table(chosen.mpp_table) if chosen.mpp_table else {},
        regions=chosen.regions and chosen.regions.absolute(),
        skip_no_mpp=True,
        engine=Engine(LOCAL, (), chosen.workers, chosen.silence),
        parts=None,
    )
    slide_flags.warn_of_unused(found, chosen.mpp_table)
    mine = shares.of(items, chosen.share)
    if not mine:
        raise InputError(
            f"{len(items)} slides leave none for share {chosen.share}",
            where="--share",
            way_out="share among fewer processes",
        )
    sampling = Sampling(
        targets=(Target(mpp, 1.0),),
        count=_ALL_PLACES,
        least_tissue=chosen.tissue,
        may_overlap=True,
        seed=0,
        keep=tuple(chosen.keep),
        shared=chosen.overlap,
    )
    rows = {item.name: inspection.first_row(item) for item in mine}
    lost = [End(row.wsi, row.slide, row.status, row.reason) for row in rows.values() if row.status]
    return list(inspection.tasks(found, rows, px, sampling)), lost


def _settings(task: survey.Task) -> str:
    """Digest of all that decides a slide's places: the file, settings, code and libraries."""
    return storage.name(parts.job(survey.survey, task, "").path).rpartition("-")[2]


def _done(
    tasks: list[survey.Task], places: Places, encoder: Model, chosen: Options
) -> dict[str, End]:
    """Slides with a complete file of the same encoder and settings, by name.

    Raises:
      InputError: files of another encoder are there.
    """
    done, strangers = {}, []
    for task in tasks:
        path = places.feature_file(task.row.slide)
        stored = feature_file.stored(path)
        if stored is None:
            continue
        if stored.model_sha256 != encoder.sha256:
            strangers.append(path)
            continue
        settings = _settings(task)
        if (stored.dtype, stored.settings) == (chosen.dtype, settings):
            status = slide_ends.status_of(stored.count)
            done[task.row.wsi] = End(
                task.row.wsi, task.row.slide, status, patches=stored.count, settings=settings
            )
    if strangers:
        raise InputError(
            f"{len(strangers)} files with features of another encoder, e.g. {strangers[0].name}",
            where=places.features,
            way_out="give another --out or another --name, or delete that folder",
        )
    return done


def _kept(
    tasks: list[survey.Task], done: dict[str, End], earlier: dict[str, End], retry_failed: bool
) -> dict[str, End]:
    """Slides with which nothing is to be done, by name: those done, and those that failed before.

    What failed is tried again when the file or a setting has changed.
    """
    kept = {}
    for task in tasks:
        before = earlier.get(task.row.wsi)
        if task.row.wsi in done:
            same = (
                before is not None
                and before.is_good
                and before.patches == done[task.row.wsi].patches
            )
            kept[task.row.wsi] = before if same else done[task.row.wsi]
        elif before and not before.is_good and not retry_failed:
            if before.settings == _settings(task):
                kept[task.row.wsi] = before
    return kept


def _make_folders(out: Path, places: Places) -> None:
    for folder in (out, places.features, places.coords, places.pictures):
        trial = folder / f".trial{feature_file.TEMPORARY}"
        with feature_file.writing(folder, trial):
            folder.mkdir(parents=True, exist_ok=True)
            trial.touch()
            trial.unlink(missing_ok=True)


def _opened_ends(
    out: Path, share: shares.Share, kept: dict[str, End], earlier: dict[str, End], mine: set[str]
) -> Ends:
    """The table, with what it has of other slides; the only process takes over those of shares."""
    path = slide_ends.file_of(out, share)
    others = earlier if share == shares.ALL else slide_ends.read(path)
    ends = Ends(path, [*(end for wsi, end in others.items() if wsi not in mine), *kept.values()])
    if share == shares.ALL:
        for old in out.glob("embed.*of*.csv"):
            old.unlink()
    return ends


def _run(
    tasks: list[survey.Task],
    job: Job,
    places: Places,
    ends: Ends,
    encoder: Model,
    chosen: Options,
) -> dict[str, Any]:
    """Reads, encodes and writes; what took how long."""
    if not tasks:
        nothing = dict.fromkeys(("wall", "compile", "read", "encode", "write"), 0.0)
        return {"patches": 0, "seconds": nothing, "busy": 0.0}
    on_cpu = jax.default_backend() == "cpu"
    mesh = meshes.make()
    statistics = {"mean": encoder.provenance.mean, "std": encoder.provenance.std}
    program = extract.encoding(encoder.network, px=job.px, mesh=mesh, **statistics)
    batch_size = -(-(chosen.batch_size or (64 if on_cpu else 256)) // mesh.size) * mesh.size
    batches = Batches(program, meshes.batch_sharding(mesh), batch_size, job.px)
    slides = Slides(
        job,
        places,
        ends,
        {task.row.wsi: _settings(task) for task in tasks},
        dimensions=encoder.network.num_features,
        dtype=chosen.dtype,
        copies=chosen.copies,
    )
    workers = chosen.workers or max(1, pool.cores() // (2 if on_cpu else 1))
    compiled = batches.warm_up()
    start = time.monotonic()
    reading_seconds = 0.0
    progress = Progress("patches", 0)

    def started() -> Iterator[survey.Task]:
        for task in tasks:
            slides.start(task.row.wsi)
            yield task

    events = reading.read(started(), workers=workers, silence=chosen.silence, begin=slides.begin)
    try:
        with contextlib.closing(events):
            for wsi, part in events:
                if isinstance(part, Failed):
                    slides.fail(wsi, part.status, part.reason)
                    continue
                reading_seconds += part.seconds
                for owner, features in batches.put(wsi, part.patches):
                    slides.write(owner, features)
                note = f"slide {slides.ended + 1} of {len(tasks)}"
                progress.show(slides.patches, note, total=_guess(slides, len(tasks)))
        for owner, features in batches.rest():
            slides.write(owner, features)
    finally:
        slides.abandon()
        batches.close()
        progress.close()
    wall = time.monotonic() - start
    return {
        "patches": slides.patches,
        "seconds": {
            "wall": wall,
            "compile": compiled,
            "read": reading_seconds,
            "encode": batches.busy,
            "write": slides.writing,
        },
        "busy": batches.busy / wall,
    }


def _guess(slides: Slides, count: int) -> int:
    """Patches of all slides, if those to come have as many as those that have begun."""
    return round(slides.expected * count / max(1, slides.begun))
