"""How much of the features tells cohort, stain or magnification instead of tissue: a table.

Measured within tasks of the same classes, where both can be told apart, and over all tasks, where
each cohort may well have its own tissue: then the table says that nothing can be told.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from histo_simclr.evaluate import batch_effect
from histo_simclr.looks.sample import ALONE, Sample

# Cramér's V from which nuisance and class are one and the same, and from which they are entangled.
COINCIDE, ENTANGLED = 0.9, 0.5
# How far a robustness index must lie from that of blindly drawn neighbors to be worth a word.
_MARGIN = 0.05
COLUMNS = (
    "tasks",
    "nuisance",
    "values",
    "probe of nuisance",
    "chance",
    "probe of tissue",
    "association",
    "neighbors from other",
    "expected",
    "robustness index",
    "if blind",
)
_NOTHING = "No two cohorts, stains or magnifications: nothing to compare."
NOTE = (
    "Probe of nuisance: balanced accuracy [95 % interval by groups] of a linear probe that names "
    "cohort, stain or magnification of patients or slides it has not seen; at chance, the features "
    "do not tell it. "
    "Probe of tissue: the same for the class, which good features do tell. "
    "Association: Cramér's V of nuisance and class; near 1 either stands for the other, and "
    "nothing can be told. "
    "Neighbors from other: share of nearest neighbors (other patients or slides only) with another "
    "value of the nuisance; without batch effect it is the expected share beside it. "
    "Robustness index: of the neighbors that agree in just one of class and nuisance, the share "
    "that agrees in the class, over classes that occur with several values; 1 is tissue alone, 0 "
    "the nuisance alone, and the share beside it is that of neighbors drawn blindly."
)


class Effect(NamedTuple):
    """One nuisance in tasks whose classes are compared.

    Fields:
      tasks: names, joined.
      nuisances: which divide these patches alike, such as cohort and stain.
      values: value → patches.
      contrast, mixing: measured (batch_effect); `mixing.robustness` over classes that occur with
        two values or more, NaN where none does.
      blind: the robustness index if neighbors were drawn blindly: 0.5 for two classes with two
        values each, less for more classes.
      alone: share of patches whose patient and slide are unknown.
    """

    tasks: str
    nuisances: tuple[str, ...]
    values: dict[str, int]
    contrast: batch_effect.Contrast
    mixing: batch_effect.Mixing
    blind: float
    alone: float


def effects(
    features: np.ndarray,
    sample: Sample,
    *,
    neighbors: int,
    folds: int,
    strength: float,
    resamples: int,
    seed: int,
) -> list[Effect]:
    """Measures every nuisance with two known values or more.

    Args:
      features: (n, D) float32.
      sample: n patches; some thousands at most.
      neighbors: of each patch.
      folds, strength, resamples, seed: see `batch_effect.separability`.
    """
    options = {"folds": folds, "strength": strength, "resamples": resamples, "seed": seed}
    found = []
    for tasks, rows, classes in _scopes(sample):
        for nuisances, values in _nuisances(sample.take(rows)):
            known = values != ""
            chosen = rows[known]
            facts = features[chosen], values[known], classes[known], sample.group[chosen]
            mixing = batch_effect.mixing(*facts, count=neighbors)
            shared = _occurs_in_several(facts[2], facts[1])
            robustness = blind = float("nan")
            if shared.any():
                of_shared = [each[shared] for each in facts]
                robustness = batch_effect.mixing(*of_shared, count=neighbors).robustness
                blind = _blind(*of_shared[1:])
            names, counts = np.unique(facts[1], return_counts=True)
            found.append(
                Effect(
                    tasks,
                    nuisances,
                    dict(zip(names.tolist(), counts.tolist(), strict=True)),
                    batch_effect.contrast(*facts, **options),
                    mixing._replace(robustness=robustness),
                    blind,
                    float(np.char.startswith(facts[3], ALONE).mean()),
                )
            )
    return found


def magnifications(mpp: np.ndarray) -> np.ndarray:
    """(n,) µm/px in two digits, so that 0.499 and 0.502 are one value; empty where unknown."""
    return np.array([f"{value:.2g} µm/px" if value > 0 else "" for value in mpp.tolist()])


def table(found: list[Effect]) -> dict[str, Any]:
    """The table of a report, one row an effect."""
    rows = [
        [
            each.tasks,
            ", ".join(each.nuisances),
            ", ".join(f"{name} ({count:,})" for name, count in each.values.items()),
            _with_interval(each.contrast.nuisance),
            _number(each.contrast.nuisance.chance),
            _with_interval(each.contrast.tissue),
            _number(each.contrast.association),
            _number(each.mixing.other),
            _number(each.mixing.expected),
            _number(each.mixing.robustness),
            _number(each.blind),
        ]
        for each in found
    ]
    read = " ".join(f"{each.tasks}, {', '.join(each.nuisances)}: {reading(each)}" for each in found)
    note = f"{read} {NOTE}" if found else _NOTHING
    title = "What the features tell besides tissue"
    return {"title": title, "columns": list(COLUMNS), "rows": rows, "note": note}


def numbers(found: list[Effect]) -> list[dict[str, Any]]:
    """The same as JSON values; NaN is None."""
    return [
        {
            "tasks": each.tasks,
            "nuisances": list(each.nuisances),
            "values": each.values,
            "nuisance": _described(each.contrast.nuisance),
            "tissue": _described(each.contrast.tissue),
            "association": each.contrast.association,
            "can_be_told": each.contrast.association < COINCIDE,
            "other": _or_none(each.mixing.other),
            "expected": _or_none(each.mixing.expected),
            "robustness_index": _or_none(each.mixing.robustness),
            "robustness_index_if_blind": _or_none(each.blind),
            "groups_unknown": each.alone,
        }
        for each in found
    ]


def reading(effect: Effect) -> str:
    """What the numbers of one effect mean, in a sentence or two."""
    nuisance, probe = effect.nuisances[0], effect.contrast.nuisance
    if effect.contrast.association >= COINCIDE:
        said = f"Cannot be told: each {nuisance} has its own classes, to name one names the other."
    elif np.isnan(probe.balanced_accuracy):
        said = f"Cannot be told: too few patients or slides of a {nuisance}."
    else:
        is_told = probe.low > probe.chance
        said = (
            f"The {nuisance} is {_degree(probe.above_chance)} told."
            if is_told
            else (f"No {nuisance} shown to be told.")
        )
        beyond = effect.mixing.robustness - effect.blind
        if beyond < -_MARGIN:
            said += f" Where they disagree, neighbors go by the {nuisance} rather than by tissue."
        elif beyond > _MARGIN:
            said += f" Where they disagree, neighbors go by tissue rather than by the {nuisance}."
        if effect.contrast.association >= ENTANGLED:
            said += " Read with care: classes differ much between the values."
    if effect.alone:
        said += f" {effect.alone:.0%} of the patches are of unknown patients and count singly."
    return said


def _degree(above_chance: float) -> str:
    return "nearly always" if above_chance > 0.9 else "often" if above_chance > 0.4 else "partly"


def _scopes(sample: Sample) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """(tasks, rows, class of each of these rows) of each family, then of all tasks."""
    family = sample.families()
    for name in np.unique(family).tolist():
        rows = np.flatnonzero((family == name) & (sample.label != ""))
        if len(rows):
            yield name, rows, sample.label[rows]
    if len(np.unique(family)) > 1:
        classes = np.char.add(np.char.add(family, ": "), sample.label)
        yield "all tasks", np.arange(len(sample.row)), classes


def _nuisances(sample: Sample) -> list[tuple[tuple[str, ...], np.ndarray]]:
    """(names, value of each patch) of those with two known values; equal partitions are one."""
    columns = {
        "cohort": sample.cohort,
        "stain": sample.stain,
        "magnification": magnifications(sample.mpp),
    }
    found: dict[bytes, tuple[tuple[str, ...], np.ndarray]] = {}
    for name, values in columns.items():
        if len(np.unique(values[values != ""])) < 2:
            continue
        first, part = np.unique(values, return_index=True, return_inverse=True)[1:]
        # Numbered by first occurrence: the same bytes for the same partition, whatever the names.
        key = np.where(values != "", first[part], -1).tobytes()
        names, kept = found.get(key, ((), values))
        found[key] = ((*names, name), kept)
    return list(found.values())


def _occurs_in_several(classes: np.ndarray, values: np.ndarray) -> np.ndarray:
    """(n,) bool: the class of the row occurs with two values or more."""
    several = [name for name in np.unique(classes) if len(np.unique(values[classes == name])) > 1]
    return np.isin(classes, several)


def _blind(values: np.ndarray, classes: np.ndarray, groups: np.ndarray) -> float:
    """The robustness index of neighbors drawn from all other groups with equal chances."""
    is_other = groups[:, None] != groups
    of_value, of_class = values[:, None] == values, classes[:, None] == classes
    could = np.maximum(is_other.sum(1), 1)
    biology = np.sum((is_other & of_class & ~of_value).sum(1) / could)
    confounded = np.sum((is_other & ~of_class & of_value).sum(1) / could)
    decided = biology + confounded
    return float(biology / decided) if decided else float("nan")


def _described(probe: batch_effect.Separability) -> dict[str, Any]:
    values = {name: _or_none(getattr(probe, name)) for name in ("balanced_accuracy", "low", "high")}
    told = {"labels": list(probe.labels), "left_out": list(probe.left_out)}
    return values | {"chance": _or_none(probe.chance)} | told


def _with_interval(probe: batch_effect.Separability) -> str:
    if np.isnan(probe.balanced_accuracy):
        return "cannot be told"
    return f"{probe.balanced_accuracy:.3f} [{probe.low:.3f}, {probe.high:.3f}]"


def _number(value: float) -> str:
    return "cannot be told" if np.isnan(value) else f"{value:.3f}"


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
