"""Whole slides → one record set, or only the plan of it; whole or not at all.

inspect all → list what lacks an mpp → survey each, write the plan → read the planned patches.
What is done of a slide is kept as a part until the whole is there: a job that was killed goes on.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from histo_simclr import records
from histo_simclr.errors import InputError
from histo_simclr.prepare import (
    cut_slides,
    datasheet,
    engine,
    inspection,
    plan_file,
    slide_table,
    survey,
    whole,
)
from histo_simclr.prepare import plan as planning
from histo_simclr.prepare.inspection import Slides
from histo_simclr.prepare.isolated import Lost
from histo_simclr.prepare.patches import Cutting
from histo_simclr.prepare.plan_file import PlanWriter
from histo_simclr.prepare.record_set import VERSION, Cohort, RecordSetWriter, slug
from histo_simclr.prepare.slide_table import FAILED, OK, Counts, Row
from histo_simclr.prepare.survey import Sampling
from histo_simclr.slides import picture, resolution


def prepare(
    slides: Slides,
    *,
    out: Path,
    cohort: Cohort,
    cutting: Cutting,
    sampling: Sampling,
    plan: Path | None,
    plan_only: bool,
    where: str,
    settings: dict[str, Any],
    made_by: str,
) -> Path:
    """Writes `out`/<slug>/1.0.0, or `out`/<slug>/plan with plan_only, and returns its path.

    In it besides the record set: plan.parquet, slides.csv (every slide with its status),
    summary.json (counts), and in qc/ a picture of each slide and contact sheets, unless an
    older plan is followed, which has them. The bytes depend on the slides and arguments alone, not
    on the engine, nor on how often the command was killed and started again.

    Args:
      slides: what to read.
      out: folder of record sets.
      cohort, cutting: see `record_set`; of cutting, `cut` is not used.
      sampling: how places are chosen; not used with `plan`.
      plan: a plan to follow, which then says the places and the slides' mpp; None: make one.
      plan_only: stop before pixels are read.
      where, settings: the sources, and what record_set.json says of the command.
      made_by: the command, for the datasheet.

    Raises:
      InputError: bad arguments, no slide that gives a patch, the place cannot be written, or
        another process is at work on it. The parts of slides that are done are kept then.
    """
    name = slug(cohort.name)
    target = Path(out) / name / ("plan" if plan_only else VERSION)
    whole.remove_leftovers(target, Path(out), slides.parts)
    whole.refuse_existing(target, "the plan" if plan_only else "the record set")
    planned = planning.plan(lambda: iter(slides.items), where)
    with whole.resumable_folder(target, Path(out), slides.parts) as (folder, parts):
        rows = inspection.inspected(slides, cutting.px, sampling, parts)
        counts = Counts(cohort.name)
        if plan is None:
            (folder / "qc").mkdir()
            rows = _surveyed(slides, rows, cutting.px, sampling, folder, parts)
        else:
            rows = _followed(plan, rows, cutting.px, folder)
        _refuse_nothing(rows, where)
        if plan_only:
            for part in plan_file.read(folder / "plan.parquet"):
                row = rows[part.wsi]
                for mpp in part.places.mpp.tolist():
                    counts.add(mpp, row.stain, row.split)
        else:
            writer = RecordSetWriter(folder, name, cohort, cutting, planned)
            with contextlib.closing(writer):
                rows = _written(slides, rows, cutting, folder, parts, writer, counts, where)
                _refuse_nothing(rows, where)
                for name in slides.set_aside:
                    writer.set_aside(name)
                writer.finish(where, settings)
        slide_table.write_csv(folder / "slides.csv", rows.values())
        records.write_json(folder / "summary.json", counts.summary(list(rows.values())))
        if not plan_only:
            datasheet.of_record_set(folder, made_by)  # lists the files that are there
        if plan is None:
            _draw_sheets(folder, rows)
    return target


def follow(slides: Slides, plan: Path, px: int, where: str) -> Slides:
    """The slides that a plan names, with the mpp it was made with.

    Raises:
      InputError: the plan is of another px, or names slides that are not there.
    """
    there = {item.name: item for item in slides.items}
    items, mpp, gone = [], {}, []
    for part in plan_file.read(plan):
        if part.px != px:
            raise InputError(
                f"a plan of {part.px} px patches", where=plan, way_out=f"give --px {part.px}"
            )
        item = there.get(part.wsi)
        if item is None:
            gone.append(part.wsi)
        else:
            items.append(item._replace(slide=part.slide))
            mpp[part.wsi] = part.mpp
    if gone:
        raise InputError(
            f"{len(gone)} slides of the plan are not in {where}, e.g. {gone[0]}",
            where=plan,
            way_out="give the folder that holds them, or delete their rows from the plan",
        )
    return slides._replace(items=items, mpp=mpp)


def _surveyed(
    slides: Slides, rows: dict[str, Row], px: int, sampling: Sampling, folder: Path, parts: str
) -> dict[str, Row]:
    """Rows after the survey; plan.parquet and the slides' pictures are in the folder."""
    rows = dict(rows)
    tasks = inspection.tasks(slides, dict(rows), px, sampling)
    with contextlib.closing(PlanWriter(folder / "plan.parquet", px)) as writer:
        for task, found, _ in engine.run(
            slides.engine, survey.survey, tasks, parts, "slides surveyed", len(rows)
        ):
            if isinstance(found, Lost):
                rows[task.row.wsi] = task.row.ended(FAILED, found.reason)
                continue
            rows[task.row.wsi] = found.row
            if found.picture:
                (folder / "qc" / inspection.picture_name(found.row)).write_bytes(found.picture)
            if found.row.status == OK:
                writer.write(found.row, found.places)
    return rows


def _followed(plan: Path, rows: dict[str, Row], px: int, folder: Path) -> dict[str, Row]:
    """Rows as a plan says; it is written anew into the folder, without the slides that fail."""
    rows = dict(rows)
    with contextlib.closing(PlanWriter(folder / "plan.parquet", px)) as writer:
        for part in plan_file.read(plan):
            row = rows[part.wsi]
            if row.status:
                continue
            if part.quickhash and row.quickhash and part.quickhash != row.quickhash:
                rows[part.wsi] = row.ended(FAILED, "another file than the plan was made for")
                continue
            rows[part.wsi] = row.ended(OK, "")._replace(mask="plan", patches=len(part.places.x))
            writer.write(row, part.places)
    return rows


def _written(
    slides: Slides,
    rows: dict[str, Row],
    cutting: Cutting,
    folder: Path,
    parts: str,
    writer: RecordSetWriter,
    counts: Counts,
    where: str,
) -> dict[str, Row]:
    """Rows after all planned patches were read and written."""
    rows = dict(rows)
    items = {item.name: item for item in slides.items}

    def tasks() -> Iterator[cut_slides.Task]:
        for part in plan_file.read(folder / "plan.parquet"):
            path = str(items[part.wsi].data)
            yield cut_slides.Task(rows[part.wsi], path, part.mpp, part.places, cutting)

    total = sum(row.status == OK for row in rows.values())
    for task, found, file in engine.run(
        slides.engine, cut_slides.cut, tasks(), parts, "slides read", total
    ):
        row = task.row.ended(FAILED, found.reason) if isinstance(found, Lost) else found
        item = items[row.wsi]
        if row.status != OK:
            rows[row.wsi] = row._replace(patches=0)
            continue
        for patch, mpp in zip(
            cut_slides.patches_of(file, row.patches), task.places.mpp.tolist(), strict=True
        ):
            power = resolution.nominal_magnification(mpp)
            name = f"{row.slide}/{patch.x}_{patch.y}_{mpp:g}"
            writer.write_patch(item._replace(mpp=mpp, magnification=power), patch, name, "")
            counts.add(mpp, item.stain, item.split)
    for row in rows.values():
        if row.status != OK:
            reason = f"{row.status}: {row.reason}"
            writer.reject(items[row.wsi], reason, where=where, max_rejected=1.0)
    return rows


def _refuse_nothing(rows: dict[str, Row], where: str) -> None:
    if not any(row.status == OK for row in rows.values()):
        reasons = [f"{row.wsi}: {row.status}: {row.reason}" for row in rows.values()]
        raise InputError(
            f"none of {len(rows)} slides gives a patch ({'; '.join(reasons[:3])})",
            where=where,
            way_out="mend the slides or the settings",
        )


def _draw_sheets(folder: Path, rows: dict[str, Row]) -> None:
    cells = []
    for row in rows.values():
        file = folder / "qc" / inspection.picture_name(row)
        cells.append((file, row.slide, f"{row.status}, {row.patches} patches"))
    picture.write_sheets(folder / "qc/contact_sheets", cells)
