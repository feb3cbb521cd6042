"""The evaluation program: encoders × tasks × protocols × labels × seeds → tables and a report.

Every task and encoder is opened and checked before anything is computed. Each cell is kept as soon
as it is done; results, pictures and the report are made of what is kept, and can be made again.
"""

import contextlib
import datetime
import functools
import hashlib
import json
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import ml_collections
import numpy as np

from histo_simclr import mesh as meshes
from histo_simclr import processes, provenance, records, workdir
from histo_simclr.errors import InputError
from histo_simclr.evaluate import checks
from histo_simclr.looks import look as looks
from histo_simclr.looks.sample import draw
from histo_simclr.model.resnet import ResNet
from histo_simclr.prepare import near
from histo_simclr.report import document as report
from histo_simclr.suite import cells, encoders, exposure, grid, protocols, summary, tasks
from histo_simclr.suite import results as suite_results
from histo_simclr.suite.encoders import Candidate
from histo_simclr.suite.grid import Plan
from histo_simclr.suite.tasks import Task

# Of the configuration, what readers of the results want to know.
TOLD = ("seeds", "fractions", "shots", "resamples", "permutations", "margin", "random_seed")
TOLD += ("near_distance", "allow_leaks", "settings")
PRECISIONS = ("auto", "bfloat16", "float32")
SIDE = 96  # px of the patches in pictures


def run(config: ml_collections.ConfigDict, place: Path) -> None:
    """Judges `config.checkpoints` on `config.tasks`, prints the tables, leaves a report in `place`.

    Raises:
      InputError: encoders, tasks, settings or workdir that cannot be used, or a leak. What was
        computed before stays in the workdir.
    """
    processes.start()
    if jax.process_count() > 1:
        raise InputError(
            f"started in {jax.process_count()} processes",
            where="evaluate",
            way_out="start it on one host; it uses all of that host's devices",
        )
    check(config)
    found = encoders.candidates(config.checkpoints, config.floors, seed=config.random_seed)
    opened, absent = open_tasks(config)
    exposed = exposure.find(opened, found, distance=config.near_distance)
    if not config.allow_leaks:
        exposure.refuse(exposed)
    identities = encoders.identities(found, opened, seed=config.random_seed)
    plan = grid.plan(config, opened, found, identities)
    with workdir.claim(place, {"program": config.program}), workdir.naming_disk_trouble(place):
        tell(header(plan, opened, found, place))
        mesh = meshes.make()
        compute(config, plan, place, mesh)
        robustness = look(config, opened, found, identities, place, mesh)
        tell("intervals and paired tests …")
        judged = [
            summary.judge(block, resamples=config.resamples)
            for block in summary.blocks(plan.cells, place)
        ]
        results = suite_results.gather(
            judged,
            opened,
            found,
            exposed,
            robustness=robustness,
            skipped=absent + plan.skipped,
            settings={key: config.to_dict()[key] for key in TOLD},
            date=datetime.date.today().isoformat(),
            place=place,
        )
        suite_results.write(results, place)
        tell(f"wrote {report.write(place)}")
    print(suite_results.format_tables(results), flush=True)


def check(config: ml_collections.ConfigDict) -> None:
    """Refuses settings that no cell could use."""
    unknown = [name for name in config.protocols if name not in protocols.PROTOCOLS]
    stray = [name for name in config.few_labels if name not in protocols.PROTOCOLS]
    for key, value, wrong, way_out in (
        ("protocols", unknown, unknown, f"choose from {', '.join(protocols.PROTOCOLS)}"),
        ("protocols", config.protocols, not config.protocols, "name one or more"),
        ("few_labels", stray, stray, f"choose from {', '.join(protocols.PROTOCOLS)}"),
        ("seeds", config.seeds, not config.seeds or min(config.seeds) < 0, "give 0 or more"),
        ("resamples", config.resamples, config.resamples < 1, "give 1 or more"),
        ("permutations", config.permutations, config.permutations < 1, "give 1 or more"),
        ("margin", config.margin, not config.margin > 0, "give a value above 0"),
        ("batch_size", config.batch_size, config.batch_size < 1, "give 1 or more"),
        (
            "fractions",
            config.fractions,
            not all(0 < each <= 1 for each in config.fractions),
            "give shares above 0, at most 1",
        ),
        ("shots", config.shots, any(each < 1 for each in config.shots), "give 1 or more"),
        (
            "near_distance",
            config.near_distance,
            not 1 <= config.near_distance <= near.MAX_DISTANCE,
            f"give 1 to {near.MAX_DISTANCE}",
        ),
        (
            "precision",
            config.precision,
            config.precision not in PRECISIONS,
            f"choose from {', '.join(PRECISIONS)}",
        ),
        (
            "settings.finetune.batch_size",
            config.settings.finetune.batch_size,
            "finetune" in config.protocols
            and config.settings.finetune.batch_size % jax.device_count(),
            f"give a multiple of the {jax.device_count()} devices",
        ),
    ):
        if wrong:
            raise InputError(f"cannot be {value}", where=f"config.{key}", way_out=way_out)


def open_tasks(config: ml_collections.ConfigDict) -> tuple[list[Task], list[dict[str, str]]]:
    """The tasks chosen, and those that have no record set here.

    Raises:
      InputError: an unknown name; record sets that are missing, all of them named with the command
        that makes them, unless config.skip_missing; or none left.
    """
    names = [each.strip() for each in config.choose.split(",") if each.strip()]
    for name in names:
        if name not in config.tasks:
            raise InputError(
                f"no task {name!r}",
                where="config.choose",
                way_out=f"choose from {', '.join(config.tasks)}",
            )
    data = Path(config.data)
    chosen = list(dict.fromkeys(names)) or list(config.tasks)
    gone = {name: why for name in chosen if (why := tasks.missing(config.tasks[name], data))}
    if gone and (not config.skip_missing or len(gone) == len(chosen)):
        raise InputError(
            f"{len(gone)} of {len(chosen)} tasks have no record set",
            where=f"config.data={config.data}",
            way_out="prepare them, name another folder (--config.data=…, "
            "--config.tasks.NAME.records=…), choose others (--config.choose=…), or go on without "
            "(--config.skip_missing=True)",
            listed=[f"{name}: {why}" for name, why in gone.items()],
        )
    opened = []
    for name in chosen:
        if name not in gone:
            with naming(f"task {name}"):
                opened.append(tasks.open_task(name, config.tasks[name].to_dict(), data))
    absent = [
        {"task": name, "encoder": "", "protocol": "", "why": why} for name, why in gone.items()
    ]
    return opened, absent


def compute(
    config: ml_collections.ConfigDict, plan: Plan, place: Path, mesh: jax.sharding.Mesh
) -> None:
    """Makes the cells that are not there yet."""
    wanted = [(cell, cell.path(place)) for cell in plan.cells]
    wanted = [(cell, path) for cell, path in wanted if not path.is_file()]
    if len(wanted) < len(plan.cells):
        tell(f"{len(plan.cells) - len(wanted):,} of {len(plan.cells):,} cells are there already")
    dtype = meshes.compute_dtype(config.precision)
    revision, before = provenance.git_revision(), None
    for number, (cell, path) in enumerate(wanted, 1):
        if (cell.task.name, cell.candidate.name) != before:
            before = (cell.task.name, cell.candidate.name)
            network, features = sources(
                cell.task, cell.candidate, cell.identity, config, place, mesh
            )
        tell(
            f"{number}/{len(wanted)}  {cell.task.name} · {cell.candidate.name} · {cell.protocol}"
            f" · {cell.subset} · seed {cell.seed}"
        )
        least = protocols.PROTOCOLS[cell.protocol].least
        chosen = grid.chosen_of(cell.task, cell.subset, least=least, seed=cell.seed)
        inputs = cells.Inputs(
            cell.task, cell.candidate, network, features, chosen, mesh, dtype, cell.seed, tell
        )
        with naming(f"{cell.task.name}, {cell.candidate.name}, {cell.protocol}, {cell.subset}"):
            outcome = protocols.run(cell.protocol, inputs, dict(cell.settings))
        cells.save(path, outcome, revision=revision)


def sources(
    task: Task,
    candidate: Candidate,
    identity: str,
    config: ml_collections.ConfigDict,
    place: Path,
    mesh: jax.sharding.Mesh,
) -> tuple[Callable[[], ResNet], Callable[[], tuple[np.ndarray, np.ndarray]]]:
    """Where a cell gets its network and its features from; both are got when first wanted."""
    network = functools.cache(lambda: encoders.network(candidate, seed=config.random_seed))

    def compute_features() -> tuple[np.ndarray, np.ndarray]:
        count = len(task.train.rows) + len(task.test.rows)
        tell(f"  features of {count:,} patches")
        pair = encoders.features(
            candidate,
            network() if candidate.has_network else None,
            task,
            batch_size=config.batch_size,
            mesh=mesh,
        )
        checks.check_features(*pair, where=f"{candidate.name}, {task.name}")
        return pair

    kept = functools.cache(
        lambda: cells.kept_features(place, task, candidate, identity, compute_features)
    )
    return network, kept


def look(
    config: ml_collections.ConfigDict,
    opened: Sequence[Task],
    found: Sequence[Candidate],
    identities: Mapping[tuple[str, str], str],
    place: Path,
    mesh: jax.sharding.Mesh,
) -> dict[str, list[dict[str, Any]]]:
    """Pictures of the features over patches of all tasks; those that are there stay.

    Returns:
      Encoder → what its features tell of cohort, stain and magnification.
    """
    shown = [task for task in opened if task.kind != "segmentation"]
    if not config.look.patches or not shown:
        shutil.rmtree(place / "looks", ignore_errors=True)  # of tasks that are not judged now
        return {}
    sample, robustness = None, {}
    for candidate in found:
        told = [config.look.to_dict()]
        told += [[task.digest, identities[candidate.name, task.name]] for task in shown]
        digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
        file = place / "looks" / f"{candidate.name}.json"
        before = records.read_json(file) if file.is_file() else {"digest": ""}
        if before["digest"] == digest:
            robustness[candidate.name] = before["robustness"]["effects"]
            continue
        if sample is None:
            sample = draw(shown, count=config.look.patches, side=SIDE, seed=config.look.seed)
        tell(f"pictures of {len(sample.row):,} patches · {candidate.name}")
        tables, encode = {}, None
        for task in shown:
            identity = identities[candidate.name, task.name]
            network, features = sources(task, candidate, identity, config, place, mesh)
            tables |= {
                (task.name, side): table
                for side, table in zip(("train", "test"), features(), strict=True)
            }
        if candidate.has_network:
            encode = encoders.encoding(candidate, network(), mesh=mesh)
        settings = {key: value for key, value in config.look.items() if key != "patches"}
        seen = looks.look(
            candidate.name,
            sample.features(tables),
            sample,
            out=place / "looks" / candidate.name,
            encode=encode,
            **settings,
        )
        workdir.write_json(file, seen | {"digest": digest})
        robustness[candidate.name] = seen["robustness"]["effects"]
    return robustness


def header(plan: Plan, opened: Sequence[Task], found: Sequence[Candidate], place: Path) -> str:
    """What will be done, before it is."""
    lines = [f"evaluation suite in {place}"]
    lines += [
        f"  task     {task.name}: {task.kind}, {len(task.train.rows):,} training and "
        f"{len(task.test.rows):,} test patches, by {task.test.groups.unit}"
        for task in opened
    ]
    lines += [f"  encoder  {each.name}: {each.about['weights']}" for each in found]
    lines += [f"  cells    {len(plan.cells):,}"]
    return "\n".join(lines)


@contextlib.contextmanager
def naming(what: str) -> Iterator[None]:
    """Says of bad input which part of the suite it concerns."""
    try:
        yield
    except InputError as error:
        raise InputError(
            error.what, where=f"{what}: {error.where}", way_out=error.way_out, listed=error.listed
        ) from error


def tell(text: str) -> None:
    """Progress on stderr."""
    print(text, file=sys.stderr, flush=True)
