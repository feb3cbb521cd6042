"""`histo-simclr bench CASE`: how fast the parts of a run are here, and what the step costs.

Each case times or compiles what a run uses, from the same configuration (`probe` needs none).
Rates count patches; those of pretraining two views each. The keys of the JSON line are those of the
program it is compared with.
"""

import argparse
import functools
import importlib.util
import json
import os
import platform
import time
from collections.abc import Callable
from typing import Any

import jax
import jaxlib
from jax.sharding import Mesh

from histo_simclr import config as configs
from histo_simclr import mesh as meshes
from histo_simclr import out_of_memory, provenance, tables
from histo_simclr.benchmarks import cases, clock, probe, settings, trace
from histo_simclr.errors import InputError

SUMMARIES = {
    "input": "records → decoded → two views on the device; no network",
    "views": "two views of a batch that lies on the device",
    "step": "the whole pretraining step, or network and update on ready views",
    "end-to-end": "records → decoded → device → whole step, as a run does it",
    "cost": "FLOPs, bytes and memory of the step, by the compiler and by hand; runs nothing",
    "extract": "records → features, beside the encoder alone on patches that lie on the device",
    "probe": "the linear probe beside scikit-learn's, and nearest neighbors; on made-up features",
}
READING = ("input", "end-to-end", "extract")  # records


def add_arguments(sub: argparse.ArgumentParser) -> None:
    """One sub-parser a case."""
    choices = sub.add_subparsers(metavar="CASE", dest="case", required=True)
    each = {
        name: choices.add_parser(name, help=summary, description=summary)
        for name, summary in SUMMARIES.items()
    }
    probe.add_arguments(each["probe"])
    for name, case in each.items():
        case.add_argument("--json", action="store_true", help="a JSON line at the end")
        if name != "probe":
            settings.add_arguments(case)
        if name not in ("probe", "cost"):
            case.add_argument("--steps", type=int, default=20, help="timed steps (20)")
            case.add_argument("--warmup", type=int, default=5, help="steps before them (5)")
        if name != "cost":
            once = {"extract": "a further round", "probe": "a further fit"}
            traced = once.get(name, f"{trace.STEPS} more steps")
            about = f"folder for a trace of {traced} (TensorBoard, Perfetto)"
            case.add_argument("--profile", metavar="DIR", help=about)
        if name in READING:
            source = case.add_mutually_exclusive_group(required=True)
            source.add_argument("--mix", help="folder written by `histo-simclr mix`")
            source.add_argument("--records", help="record set: DIR[:split], split train by default")
    each["step"].add_argument("--ready-views", action="store_true", help="leave out views")
    saves = each["end-to-end"]
    saves.add_argument("--save-every", type=int, metavar="N", help="also time a save in N steps")
    saves.add_argument("--save-in", metavar="DIR", help="on the disk to save to (a temporary one)")


def run(args: argparse.Namespace) -> None:
    """Runs one case; prints a table, and with --json the same as the last line."""
    since = time.perf_counter()  # before the first look at the devices, which starts JAX's backend
    trace.make_folder(getattr(args, "profile", None))
    if args.case == "probe":
        with out_of_memory.naming("set fewer --examples, --dimensions, --folds or --queries"):
            found, rows = probe.clocked(args)
        _print("probe", found | _machine(meshes.make(1)), rows, args)
        return

    for name in ("steps", "warmup", "save_every"):
        if getattr(args, name, None) is not None and getattr(args, name) < 1:
            flag = f"--{name.replace('_', '-')}"
            raise InputError("too few", where=flag, way_out="give 1 or more")
    if args.case in READING and importlib.util.find_spec("tensorflow") is None:
        raise InputError(
            "TensorFlow is not installed, which decodes the records",
            where=f"bench {args.case}",
            way_out="pip install -r requirements.txt; step, views, cost and probe need none",
        )
    if getattr(args, "save_in", None) and args.save_every is None:
        way_out = "give --save-every N too, or leave it out"
        raise InputError("nothing is saved", where="--save-in", way_out=way_out)
    config = settings.configured(args)
    # Costs are those of the whole batch on one device, whatever there is.
    mesh = meshes.make(1 if args.case == "cost" else None)
    configs.check(config, devices=mesh.size, mix_px=config.data.px)
    found, rows = _case(args.case, since)(config, mesh, args)
    found |= {
        "mode": args.case,
        "arch": config.model.arch,
        "size": config.views.px,
        "batch": config.batch_size,
        "amp": {"bfloat16": "bf16", "float32": "off"}[config.precision],
        "optimizer": config.optimizer.name,
        "config": args.config,
        "set": args.set,
    }
    if args.case == "extract":  # nothing is trained; encode.py computes in float32, always
        found["amp"] = "off"
        del found["optimizer"]
    found |= _machine(mesh)
    head = "{mode}, {arch}, {size} px, batch {batch}, amp {amp}, {devices} x {device}"
    _print(head.format(**found), found, rows, args)


def _case(name: str, since: float) -> Callable[..., clock.Found]:
    """(config, mesh, args) → what the case found; `since`: when the command's work began."""
    if name == "extract":  # loads what judges encoders, which the others need no part of
        from histo_simclr.benchmarks import extract

        return extract.clocked
    if name == "cost":
        return cases.cost
    if name == "end-to-end":  # loads checkpoints, likewise
        from histo_simclr.benchmarks import end_to_end

        return functools.partial(end_to_end.clocked, since=since)
    stepped = {"input": cases.read, "views": cases.views, "step": cases.step}
    return functools.partial(stepped[name], since=since)


def _machine(mesh: Mesh) -> dict[str, Any]:
    chip = mesh.devices.flat[0]
    peak = (chip.memory_stats() or {}).get("peak_bytes_in_use")
    return {
        "program": "histo_simclr",
        "device": platform.machine() if chip.platform == "cpu" else chip.device_kind,
        "devices": mesh.size,
        "peak_memory_mib": peak and round(peak / 2**20),
        "peak_rss_mib": round(probe.peak_rss_mib()),
        "jax": jax.__version__,
        "jaxlib": jaxlib.__version__,
        "python": platform.python_version(),
        "revision": provenance.git_revision(),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
    }


def _print(
    head: str, found: dict[str, Any], rows: list[tuple[str, str, str]], args: argparse.Namespace
) -> None:
    if found["peak_memory_mib"] is not None:
        rows = [*rows, ("peak memory of a device", f"{found['peak_memory_mib']:,} MiB", "")]
    rows = [*rows, ("peak memory of the process", f"{found['peak_rss_mib']:,} MiB", "resident")]
    versions = "jax {jax}, jaxlib {jaxlib}, Python {python}".format(**found)
    print("\n".join([head, *tables.aligned(rows), versions]))
    if args.json:
        print(json.dumps(found))
