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

from histo_simclr import encode
from histo_simclr import mesh as meshes
from histo_simclr.embed import also, feature_file, layouts, model, reading, resume, slide_ends
from histo_simclr.embed import options as settings
from histo_simclr.embed.batches import Batches
from histo_simclr.embed.job import Slides
from histo_simclr.embed.layouts import Job, Places
from histo_simclr.embed.model import Model
from histo_simclr.embed.options import Options
from histo_simclr.embed.reading import Failed
from histo_simclr.embed.slides import listed
from histo_simclr.prepare import pool
from histo_simclr.prepare.progress import Progress
from histo_simclr.prepare.survey import Task


def embed_slides(
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
      checkpoint: the encoder: whatever `encoder.load_encoder` takes.
      out: folder for the results; may hold those of an earlier, unfinished run.
      options: fields of `options.Options`.

    Returns:
      "slides": status → number; "ends": how each slide ended, as dicts of `slide_ends.End`;
      "kept": slides with which nothing was to be done; "patches" encoded now; "seconds": of wall,
      compile, read (all readers together), encode, write; "busy": share of the wall time for which
      the devices had work, 0 when there was none; "features": folder of the files; "table":
      path of embed.csv.

    Raises:
      InputError: bad options, no slides, results of another encoder in `out`, which is then left
        as it was; a place that cannot be written, which ends the job: files that are done stay.
    """
    chosen, out = Options(**options), Path(out)
    encoder = model.load(checkpoint)
    px = chosen.px or encoder.provenance.px
    settings.check(chosen, px)
    mpp = model.mpp_for(encoder, chosen.mpp, checkpoint)
    name = chosen.name or f"histo_simclr_{encoder.provenance.arch}"
    told = model.attributes(encoder, px)
    job = Job(chosen.layout, name, mpp, px, chosen.overlap, told)
    given = [slides] if isinstance(slides, str | Path) else slides
    tasks, unusable = listed([str(each) for each in given], chosen, mpp, px)
    digests = {task.row.wsi: resume.settings_of(task) for task in tasks}
    places = layouts.places(out, job)
    kept = resume.kept(
        tasks,
        digests,
        places,
        slide_ends.earlier(out),
        encoder=feature_file.encoder_of(told),
        dtype=chosen.dtype,
        retry_failed=chosen.retry_failed,
    )
    _make_folders(out, places)
    mine = {*digests, *(end.wsi for end in unusable)}
    with contextlib.closing(resume.table(out, chosen.share, kept, mine)) as ends:
        for end in unusable:
            ends.add(end)
        for end in kept.values():
            if not end.is_bad:
                also.write(places.feature_file(end.slide), chosen.copies)
        in_flight = Slides(
            job,
            places,
            ends,
            digests,
            series={end.series for end in kept.values()},
            dimensions=encoder.network.num_features,
            dtype=chosen.dtype,
            copies=chosen.copies,
        )
        todo = [task for task in tasks if task.row.wsi not in kept]
        done = _run(todo, job, in_flight, encoder, chosen)
    rows = [end for wsi, end in sorted(ends.rows.items()) if wsi in mine]
    return done | {
        "slides": dict(Counter(end.status for end in rows)),
        "ends": [end._asdict() for end in rows],
        "kept": len(kept),
        "features": places.features,
        "table": slide_ends.file_of(out, chosen.share),
    }


def _make_folders(out: Path, places: Places) -> None:
    for folder in (out, places.features, places.coords, places.pictures):
        trial = folder / f".trial{feature_file.TEMPORARY}"
        with feature_file.writing(folder, trial):
            folder.mkdir(parents=True, exist_ok=True)
            trial.touch()
            trial.unlink(missing_ok=True)


def _run(
    tasks: list[Task], job: Job, slides: Slides, encoder: Model, chosen: Options
) -> dict[str, Any]:
    """Reads, encodes and writes; what took how long."""
    seconds = dict.fromkeys(("wall", "compile", "read", "encode", "write"), 0.0)
    if not tasks:
        return {"patches": 0, "seconds": seconds, "busy": 0.0}
    on_cpu = jax.default_backend() == "cpu"
    batches = _batches(job, encoder, chosen.batch_size or (64 if on_cpu else 256))
    seconds["compile"] = batches.warm_up()
    start = time.monotonic()
    events = reading.read(
        _noted(tasks, slides),
        workers=chosen.workers or max(1, pool.cores() // (2 if on_cpu else 1)),
        silence=chosen.silence,
        begin=slides.begin,
    )
    progress = Progress("patches", 0)
    try:
        with contextlib.closing(events):
            for wsi, part in events:
                if isinstance(part, Failed):
                    slides.fail(wsi, part.status, part.reason)
                    continue
                seconds["read"] += part.seconds
                for owner, features in batches.put(wsi, part.patches):
                    slides.write(owner, features)
                note = f"slide {slides.ended + 1} of {len(tasks)}"
                progress.show(slides.patches, note, total=slides.guess(len(tasks)))
        for owner, features in batches.rest():
            slides.write(owner, features)
    finally:
        slides.abandon()
        batches.close()
        progress.close()
    seconds["wall"] = time.monotonic() - start
    seconds |= {"encode": batches.busy, "write": slides.writing}
    busy = batches.busy / seconds["wall"]
    return {"patches": slides.patches, "seconds": seconds, "busy": busy}


def _batches(job: Job, encoder: Model, batch_size: int) -> Batches:
    mesh = meshes.local()
    looks = {"mean": encoder.provenance.mean, "std": encoder.provenance.std}
    program = encode.encoding(encoder.network, px=job.px, mesh=mesh, **looks)
    size = -(-batch_size // mesh.size) * mesh.size
    return Batches(program, meshes.batch_sharding(mesh), size, job.px)


def _noted(tasks: list[Task], slides: Slides) -> Iterator[Task]:
    for task in tasks:
        slides.start(task.row.wsi)
        yield task
