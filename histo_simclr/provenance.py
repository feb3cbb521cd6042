"""What a checkpoint says of itself: input statistics, mix, licences, configuration, versions.

Every consumer (evaluate, embed, export) reads normalisation and px from here, never from a flag.
"""

import dataclasses
import importlib.metadata
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from histo_simclr.errors import InputError

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "tensorflow-datasets")

# Parts of a configuration that name folders and say nothing of the encoder.
PLACES = ("data", "run", "evaluation", "online", "note", "init_from")


@dataclasses.dataclass(frozen=True)
class Provenance:
    """Travels in the metadata item of every checkpoint.

    Fields:
      arch: encoder, e.g. "resnet18".
      hidden, out: widths of the projection head.
      px: side of the square input that the encoder was trained on.
      mean, std: per channel (R, G, B) of pixels in [0, 1]; the encoder expects (x - mean) / std.
      mpp: µm/px values of the patches trained on, ascending; 0 where a source does not say.
      mix: digest, size, draw, recipe, statistics, and for each cohort its rows, organ, stain and
        licence.
      config: the whole configuration of the run.
      versions: of the packages that made it.
      revision: git revision of the code, with "+changes" when the tree was dirty; "" when unknown.
      origin: where the weights are from. "kind" is "pretrained", with "init_from" where the run
        started from weights (`pretrain.start`), or "imported", with what the file was and said
        (`weights.importing`); empty in checkpoints of before 2026-11-27. What an imported encoder
        saw is unknown: its mix and config are empty, hidden and out are 0.
    """

    arch: str
    hidden: int
    out: int
    px: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    mpp: tuple[float, ...]
    mix: dict[str, Any]
    config: dict[str, Any]
    versions: dict[str, str]
    revision: str
    origin: dict[str, Any] = dataclasses.field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return json.loads(json.dumps(dataclasses.asdict(self)))

    def lineage(self) -> tuple["Provenance", ...]:
        """Itself, then what its weights started from, back to imported weights or to scratch."""
        before = self.origin.get("init_from")
        if not before:
            return (self,)
        return (self, *Provenance.from_json(before["provenance"], where="init_from").lineage())

    def published(self) -> "Provenance":
        """The same without the places on this machine's disks that its configuration names."""
        kept = {name: part for name, part in self.config.items() if name not in PLACES}
        return dataclasses.replace(self, config=kept)

    @classmethod
    def from_json(cls, content: dict[str, Any], *, where: object) -> "Provenance":
        """Reads `to_json`'s result; InputError names `where` and a field that is missing or odd."""
        if not isinstance(content, dict):
            raise _odd(where, "is no JSON object")
        names = {field.name for field in dataclasses.fields(cls)}
        if missing := names - content.keys() - {"origin"}:
            raise InputError(
                f"provenance lacks {', '.join(sorted(missing))}",
                where=where,
                way_out="use a checkpoint written by this version of histo_simclr",
            )
        values = {name: content[name] for name in names & content.keys()}
        for name, is_right in _FIELDS.items():
            if name in values and not is_right(values[name]):
                raise _odd(where, f"has {name} {json.dumps(values[name])[:60]}")
        values |= {name: tuple(values[name]) for name in ("mean", "std", "mpp")}
        return cls(**values)


def _odd(where: object, what: str) -> InputError:
    return InputError(f"provenance {what}", where=where, way_out="get the file anew")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _are_numbers(value: Any, count: int | None = None) -> bool:
    is_list = isinstance(value, list | tuple) and all(map(_is_number, value))
    return is_list and count in (None, len(value))


def _is_mix(value: Any) -> bool:
    cohorts = value.get("cohorts", {}) if isinstance(value, dict) else None
    return isinstance(cohorts, dict) and all(isinstance(each, dict) for each in cohorts.values())


def _is_dict(value: Any) -> bool:
    return isinstance(value, dict)


# What each field must be, for files that strangers or damage may have changed.
_FIELDS: dict[str, Callable[[Any], bool]] = {
    "arch": lambda value: isinstance(value, str),
    "hidden": _is_number,
    "out": _is_number,
    "px": lambda value: _is_number(value) and value >= 1,
    "mean": lambda value: _are_numbers(value, 3),
    "std": lambda value: _are_numbers(value, 3) and min(value) > 0,
    "mpp": _are_numbers,
    "mix": _is_mix,
    "config": _is_dict,
    "versions": _is_dict,
    "revision": lambda value: isinstance(value, str),
    "origin": _is_dict,
}


def of_run(config: Any, **said: Any) -> Provenance:
    """Of a pretraining by this configuration, code and packages; `said` gives the other fields."""
    return Provenance(
        arch=config.model.arch,
        hidden=config.model.hidden,
        out=config.model.out,
        px=config.views.px,
        mean=tuple(config.views.mean),
        std=tuple(config.views.std),
        config=json.loads(config.to_json_best_effort()),
        versions=package_versions(),
        revision=git_revision(),
        **said,
    )


def mix_summary(mix: dict[str, Any]) -> dict[str, Any]:
    """What a checkpoint keeps of `mix.json`: everything but the places on this machine's disk."""
    kept = ("name", "px", "size", "draw", "seed", "recipe", "digest", "cohorts", "statistics")
    return {name: mix[name] for name in kept if name in mix}


def package_versions() -> dict[str, str]:
    """Installed versions of the packages that decide the numbers."""
    return {name: importlib.metadata.version(name) for name in PACKAGES}


def git_revision() -> str:
    """Revision of the checkout that this package lies in; empty outside a git checkout."""

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(Path(__file__).parent), *arguments],
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        ).stdout.strip()

    try:
        dirty = git("status", "--porcelain", "--untracked-files=no", "--", ".")
        return git("rev-parse", "HEAD") + ("+changes" if dirty else "")
    except (OSError, subprocess.SubprocessError):
        return ""
