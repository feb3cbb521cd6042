"""Recipes of mixes: YAML files whose keys are the flags of `histo-simclr mix`, `_` for `-`.

What is given on the command line wins. A key without a value is left open: its flag has to be
given, which is how one file serves a family of mixes.
"""

import difflib
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from histo_simclr.errors import InputError
from histo_simclr.prepare import mix_settings, registry
from histo_simclr.prepare.mix_settings import SETTINGS, flag

_ROOT = registry.REGISTRY.parents[1]


class Recipe(NamedTuple):
    """A recipe as read.

    Fields:
      file: its path from the root of the repository, or its bare name when it lies elsewhere.
      sha256: of its bytes.
      values: settings by name, as their flags would give them.
      open: names of the settings that the command line has to give.
      where: by name, the line that it stands in.
    """

    file: str
    sha256: str
    values: dict[str, Any]
    open: tuple[str, ...]
    where: dict[str, str]

    def to_json(self) -> dict[str, Any]:
        """What mix.json keeps of it: no folder of this machine."""
        content: dict[str, Any] = dict.fromkeys(self.open)
        for name, value in self.values.items():
            content[name] = list(value) if isinstance(value, tuple) else value
            if isinstance(value, Path):
                content[name] = value.name
        return {"file": self.file, "sha256": self.sha256, "content": content}


def read(path: Path) -> Recipe:
    """Reads a recipe. Its `exclude` is relative to the folder that it lies in.

    Raises:
      InputError: no readable UTF-8 YAML, not one mapping, a key that is unknown or stands twice,
        or a value that its flag would not take. Names the line.
    """
    try:
        content = path.read_bytes()
        pairs = _pairs(content.decode("utf-8-sig"), path)
    except InputError:
        raise
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or str(error).split("\n")[0]
        where = path if mark is None else f"{path}, line {mark.line + 1}"
        raise InputError(
            f"no YAML ({problem})", where=where, way_out="write KEY: VALUE, one a line, no tabs"
        ) from error
    # Besides YAMLError, PyYAML lets through what int(), dates and tags that do not fit raise.
    except (OSError, ValueError, LookupError, AttributeError, TypeError, RecursionError) as error:
        raise InputError(
            f"cannot be read ({type(error).__name__}: {error})",
            where=path,
            way_out="give a UTF-8 file of lines KEY: VALUE",
        ) from error
    values, left_open, where = {}, [], {}
    for key, value, line in pairs:
        place = f"{path}, line {line}"
        _check_key(key, where, place)
        where[key] = f"{place}: {key}"
        if value is None:
            left_open.append(key)
        else:
            values[key] = mix_settings.typed(key, value, where[key])
    if "exclude" in values:
        values["exclude"] = path.parent / values["exclude"]
    return Recipe(
        file=_shown(path),
        sha256=hashlib.sha256(content).hexdigest(),
        values=values,
        open=tuple(left_open),
        where=where,
    )


def settle(
    given: Mapping[str, Any], recipe: Recipe | None
) -> tuple[dict[str, Any], dict[str, str]]:
    """The value of every setting: as given, else the recipe's, else its default.

    Args:
      given: settings on the command line, by name.
      recipe: if any.

    Returns:
      Values, and where each comes from, for errors.

    Raises:
      InputError: a flag is not within its bounds, the recipe leaves open what is not given, or no
        size.
    """
    for name, value in given.items():
        mix_settings.check(name, value, flag(name))
    left_open = [name for name in recipe.open if name not in given] if recipe else []
    if left_open:
        raise InputError(
            f"{', '.join(left_open)} left open",
            where=recipe.where[left_open[0]],
            way_out=f"give {' and '.join(map(flag, left_open))}",
        )
    values = {name: each.default for name, each in SETTINGS.items()}
    values |= recipe.values if recipe else {}
    values |= {
        name: tuple(value) if isinstance(value, list) else value for name, value in given.items()
    }
    if values["size"] is None:
        raise InputError(
            "not given", where="--size", way_out="give --size N, or --recipe with a size"
        )
    where = {name: flag(name) for name in SETTINGS}
    if recipe:
        where |= {name: recipe.where[name] for name in recipe.values if name not in given}
    return values, where


def _pairs(text: str, path: Path) -> list[tuple[Any, Any, int]]:
    """(key, value, line) of a YAML mapping; two of one key stay two."""
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        if not isinstance(node, yaml.MappingNode):
            raise InputError(
                "no mapping" if node else "empty",
                where=path,
                way_out=f"write KEY: VALUE, one a line; keys are {', '.join(SETTINGS)}",
            )
        return [
            (
                loader.construct_object(key, deep=True),
                loader.construct_object(value, deep=True),
                key.start_mark.line + 1,
            )
            for key, value in node.value
        ]
    finally:
        loader.dispose()


def _check_key(key: Any, seen: Mapping[str, str], where: str) -> None:
    if not isinstance(key, str) or key not in SETTINGS:
        word = key[:50] if isinstance(key, str) else type(key).__name__
        near = difflib.get_close_matches(word.replace("-", "_"), SETTINGS, 1)
        raise InputError(
            f"no setting {word!r}",
            where=where,
            way_out=f"did you mean {near[0]}?" if near else f"there is {', '.join(SETTINGS)}",
        )
    if key in seen:
        raise InputError(f"{key} stands twice", where=where, way_out="delete one of them")


def _shown(path: Path) -> str:
    try:
        return path.resolve().relative_to(_ROOT).as_posix()
    except ValueError:
        return path.name
