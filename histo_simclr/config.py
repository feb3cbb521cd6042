"""Checks of a pretraining configuration before anything starts, and sizes that follow from it."""

import difflib
import importlib.util
import inspect
import json
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import ml_collections

from histo_simclr.errors import InputError

# Sub-config of keys that change neither the numbers nor their order: free to differ at a resume.
FREE = "run"
# Keys of `compute` that change roundings only, as another number of devices does: free as well, so
# that a run that does not fit into memory can go on with less.
ROUNDINGS = ("space_to_depth", "remat", "similarity_rows")


# Far beyond any use, and still numbers that float32 and int32 hold: of keys, and of all others.
_LARGEST = {"seed": 2**32 - 1, "online.seed": 2**32 - 1, "evaluation.seed": 2**32 - 1}
_LARGEST |= dict.fromkeys(("views.px", "model.hidden", "model.out"), 2**16)
_LARGEST_NUMBER = 2**30
LAST_STEP = 2**31 - 1  # the optimizer counts in int32


class Plan(NamedTuple):
    """Sizes that follow from the configuration and the mix, in optimizer steps."""

    steps_per_epoch: int
    total_steps: int
    warmup_steps: int
    patch_passes: int


def load(name: str, *, program: str | None = None) -> ml_collections.ConfigDict:
    """The configuration that `--config=name` gives, for callers without flags.

    Args:
      name: path of a configuration file, with :preset or without.
      program: what it must be for; None: anything.

    Raises:
      InputError: no such file, no configuration in it, no such preset, or another program's.
    """
    path, _, preset = name.partition(":")
    way_out = "give configs/NAME.py or configs/NAME.py:preset"
    if not Path(path).is_file():
        raise InputError("no such configuration", where=path, way_out=way_out)
    get_config = _get_config_of(path)
    if get_config is None:
        raise InputError("is no configuration file", where=path, way_out=way_out)
    if preset and not inspect.signature(get_config).parameters:
        raise InputError(f"no preset {preset!r}, nor any other", where=path, way_out=f"give {path}")
    config = get_config(*filter(None, [preset]))
    if program is not None and config.program != program:
        raise InputError(
            f"configures {config.program}, not {program}",
            where=path,
            way_out="give configs/resnet18_mix.py or another of that program",
        )
    return config


def _get_config_of(path: str) -> Callable[..., ml_collections.ConfigDict] | None:
    file = Path(path).absolute()
    # The folder above `configs`, however deep in it the file lies; above its own folder otherwise.
    folder = next((each for each in file.parents if each.name == "configs"), file.parent)
    root = str(folder.parent)
    if root not in sys.path:
        sys.path.insert(0, root)  # configurations import each other as `configs.NAME`
    name = ".".join(("configs", *file.relative_to(folder).with_suffix("").parts))
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None:  # not .py
        return None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, "get_config", None)


def check_overrides(config: ml_collections.ConfigDict, arguments: Iterable[str]) -> None:
    """InputError for a `--config.KEY=…` whose key the configuration lacks; suggests the nearest."""
    known = [key for key, _ in _flatten(config.to_dict())]
    for argument in arguments:
        match = re.match(r"--?config\.([^=\[]+)", argument)
        if match is None or match[1] in known:
            continue
        near = difflib.get_close_matches(match[1], known, 1, cutoff=0.4)
        raise InputError(
            "no such key",
            where=f"--config.{match[1]}",
            way_out=f"use --config.{near[0]}" if near else "see the configuration for its keys",
        )


def plan(config: ml_collections.ConfigDict, patches: int) -> Plan:
    """Steps from epochs. One epoch is `patches // batch_size` steps, the remainder is left out.

    Raises:
      InputError: fewer patches than one batch, or a schedule that does not fit.
    """
    if patches < config.batch_size:
        raise InputError(
            f"the mix holds {patches} patches, fewer than one batch of {config.batch_size}",
            where="config.batch_size",
            way_out="set --config.batch_size smaller, or mix more patches",
        )
    steps_per_epoch = patches // config.batch_size
    total = round(steps_per_epoch * config.epochs)
    warmup = round(steps_per_epoch * config.warmup_epochs)
    if total < 1 or warmup >= total:
        raise InputError(
            f"{config.warmup_epochs} warm-up epochs do not fit {config.epochs} epochs",
            where="config.epochs",
            way_out="set --config.warmup_epochs smaller or --config.epochs larger",
        )
    if total > LAST_STEP:
        raise InputError(
            f"{config.epochs:g} epochs are {total:,} steps, more than {LAST_STEP:,}",
            where="config.epochs",
            way_out=f"set --config.epochs={LAST_STEP // steps_per_epoch} or less",
        )
    return Plan(steps_per_epoch, total, warmup, total * config.batch_size)


def check(config: ml_collections.ConfigDict, *, devices: int, mix_px: int) -> None:
    """Cross-field checks of a pretraining configuration.

    Raises:
      InputError: names the key and the way out.
    """
    flat = dict(_flatten(config.to_dict()))
    _check_numbers(flat)
    if config.batch_size < 2:
        raise InputError(
            f"batch of {config.batch_size} has nothing to contrast",
            where="config.batch_size",
            way_out=f"set --config.batch_size={max(2, devices)} or more",
        )
    if config.batch_size % devices:
        below = max(devices, config.batch_size // devices * devices)
        raise InputError(
            f"batch of {config.batch_size} cannot be split over {devices} devices",
            where="config.batch_size",
            way_out=f"set --config.batch_size={below}",
        )
    if mix_px != config.data.px:
        raise InputError(
            f"mix has {mix_px} px patches, the config asks for {config.data.px} px",
            where=config.data.mix,
            way_out=f"set --config.data.px={mix_px}, or mix record sets of {config.data.px} px",
        )
    _check_choices(flat)
    _check_ranges(flat)
    _check_compute(config, devices)


def _check_choices(flat: dict[str, Any]) -> None:
    choices = {
        "objective.name": ("nt_xent", "dcl"),
        "optimizer.name": ("lars", "sgd", "adamw"),
        "optimizer.scaling": ("sqrt", "linear", "none"),
        "precision": ("auto", "bfloat16", "float32"),
        "model.arch": ("resnet18", "resnet34", "resnet50", "resnet101"),
        "compute.remat": ("none", "convolutions", "blocks"),
    }
    for key, allowed in choices.items():
        if flat[key] not in allowed:
            raise InputError(
                f"{flat[key]!r} is not one of {', '.join(allowed)}",
                where=f"config.{key}",
                way_out=f"set --config.{key}={allowed[0]}",
            )


def _check_compute(config: ml_collections.ConfigDict, devices: int) -> None:
    """Parts of a batch that do not come out even."""
    parts, rows = config.compute.microbatches, config.compute.similarity_rows
    views = 2 * config.batch_size
    if parts < 1 or config.batch_size % (parts * devices):
        raise InputError(
            f"a batch of {config.batch_size} on {devices} device(s) has no {parts} equal parts",
            where="config.compute.microbatches",
            way_out=f"choose a divisor of {config.batch_size // devices}",
        )
    if rows < 0 or (rows and (views % rows or rows % devices)):
        raise InputError(
            f"{rows} rows at a time do not divide the {views} rows of the similarity matrix evenly "
            f"on {devices} device(s)",
            where="config.compute.similarity_rows",
            way_out=f"choose a divisor of {views} that is a multiple of {devices}, or 0",
        )
    if config.compute.space_to_depth and config.views.px % 2:
        raise InputError(
            f"views of {config.views.px} px do not divide into blocks of 2 x 2",
            where="config.compute.space_to_depth",
            way_out="set it to False, or an even --config.views.px",
        )


def _check_numbers(flat: dict[str, Any]) -> None:
    """Numbers that a run can count with, wherever the configuration holds one."""
    for key, value in flat.items():
        for each in value if isinstance(value, tuple | list) else [value]:
            is_number = isinstance(each, int | float)
            if isinstance(value, tuple | list) and not is_number and not _holds_text(key):
                what = "must be numbers"
            elif is_number and not abs(each) <= _LARGEST.get(key, _LARGEST_NUMBER):
                what = f"must be finite and at most {_LARGEST.get(key, _LARGEST_NUMBER):g}"
            else:
                continue
            raise InputError(
                f"{what}, is {value}", where=f"config.{key}", way_out=f"set --config.{key}=…"
            )


def _holds_text(key: str) -> bool:
    return key in ("evaluation.records", "evaluation.floors")


def _check_ranges(flat: dict[str, Any]) -> None:
    positive = ("objective.temperature", "optimizer.base_rate", "epochs", "views.px")
    positive += ("run.log_every", "run.checkpoint_every", "run.keep", "run.prefetch")
    positive += ("online.every", "online.patches", "online.neighbors", "online.strength")
    positive += ("model.hidden", "model.out")
    shares = [key for key in flat if key.endswith(("_probability", "_flip", "quarter_turn"))]
    # Ascending pairs (low, high), low above 0, high at most as given.
    pairs = {
        "views.crop_scale": 1.0,
        "views.crop_ratio": float("inf"),
        "views.blur_sigma": float("inf"),
    }
    rules = [(key, flat[key] > 0, "must be above 0") for key in positive]
    rules += [(key, 0 <= flat[key] <= 1, "must be from 0 to 1") for key in shares]
    rules += [
        (
            key,
            len(flat[key]) == 2 and 0 < flat[key][0] <= flat[key][1] <= top,
            f"must be two ascending numbers above 0 and at most {top:g}",
        )
        for key, top in pairs.items()
    ]
    rules += [
        (key, flat[key] >= 0, "must be 0 or more")
        for key in (
            *("seed", "warmup_epochs", "run.keep_every", "online.seed", "online.mix_patches"),
            *(f"views.{name}" for name in ("brightness", "contrast", "saturation", "hue")),
            *("views.jitter_strength", "optimizer.momentum", "optimizer.weight_decay"),
        )
    ]
    holdout = flat["online.holdout"]
    rules += [("online.holdout", 0 < holdout < 1, "must be between 0 and 1")]
    rules += [("data.max_corrupt", 0 <= flat["data.max_corrupt"] < 1, "must be from 0 to below 1")]
    rules += [("views.mean", len(flat["views.mean"]) == 3, "must be three numbers")]
    std = flat["views.std"]
    rules += [("views.std", len(std) == 3 and min(std) > 0, "must be three numbers above 0")]
    for key, holds, rule in rules:
        if not holds:
            raise InputError(
                f"{rule}, is {flat[key]}", where=f"config.{key}", way_out=f"set --config.{key}=…"
            )


def identity(
    config: ml_collections.ConfigDict, *, mix_digest: str, init_from: str = ""
) -> dict[str, Any]:
    """What decides the weights: the configuration without free keys and places, plus the mix.

    The mix counts by its digest, so a mix that was moved is still the same; so do the weights that
    the run starts from.

    Args:
      config: of a pretraining run.
      mix_digest: of its mix.
      init_from: digest of the weights that it starts from; "": from scratch.
    """
    content = json.loads(config.to_json_best_effort())
    for key in (FREE, "note", "evaluation", "online", "init_from"):
        content.pop(key, None)
    content["data"].pop("mix")
    for key in ROUNDINGS:
        content["compute"].pop(key)
    started = {"init_from": init_from} if init_from else {}
    return content | {"mix_digest": mix_digest} | started


def differing_keys(old: dict[str, Any], new: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    """(dotted key, old, new) for every leaf that differs; "absent" where one lacks it."""
    before, after = dict(_flatten(old)), dict(_flatten(new))
    return [
        (key, before.get(key, "absent"), after.get(key, "absent"))
        for key in sorted(before.keys() | after.keys())
        if before.get(key, "absent") != after.get(key, "absent")
    ]


def _flatten(tree: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    leaves = []
    for key, value in tree.items():
        if isinstance(value, dict):
            leaves += _flatten(value, f"{prefix}{key}.")
        else:
            leaves.append((prefix + key, value))
    return leaves
