"""Encoders against each other: paired differences, averages over tasks, ranks."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from histo_simclr.evaluate import ranking, statistics
from histo_simclr.suite import summary
from histo_simclr.suite.encoders import Candidate
from histo_simclr.suite.summary import SEED, Judged, over_seeds
from histo_simclr.suite.tasks import MEASURES, is_larger_better

# Protocol on the frozen encoder → those that let it learn.
TUNED_OF = {"linear": ("finetune",), "ridge": ("finetune",), "unet_frozen": ("unet_finetuned",)}


def differences(
    judged: Sequence[Judged],
    found: Sequence[Candidate],
    *,
    permutations: int,
    margin: float,
) -> list[dict[str, Any]]:
    """Every encoder that is no floor against every other, paired, by each task's metric.

    p values are adjusted for the tasks that two encoders are compared on (Holm), by protocol.
    """
    told = [
        _difference(each, first, second, permutations=permutations, margin=margin)
        for each in judged
        if each.block.subset.is_whole
        for first, second in pairs_of([c for c in found if c.name in each.block.outcomes])
    ]
    _adjust(told, ("protocol", "first", "second"))
    return told


def tuning(
    judged: Sequence[Judged], *, resamples: int, permutations: int, margin: float
) -> list[dict[str, Any]]:
    """What fine-tuning gives above the frozen encoder, by encoder and task, paired.

    p values are adjusted for the tasks of each encoder (Holm), by protocol.
    """
    whole = {
        (each.block.task.name, each.block.protocol): each
        for each in judged
        if each.block.subset.is_whole
    }
    told = []
    for (task, frozen), under in whole.items():
        for tuned in TUNED_OF.get(frozen, ()):
            over = whole.get((task, tuned))
            for encoder in _shared([over, under]) if over else ():
                both = under.block._replace(
                    protocol=tuned,
                    outcomes={
                        tuned: over.block.outcomes[encoder],
                        frozen: under.block.outcomes[encoder],
                    },
                )
                pair = summary.judge(both, resamples=resamples)
                told.append(
                    {"encoder": encoder}
                    | _difference(pair, tuned, frozen, permutations=permutations, margin=margin)
                )
    _adjust(told, ("protocol", "second", "encoder"))
    return told


def pairs_of(found: Sequence[Candidate]) -> list[tuple[str, str]]:
    """(encoder, other) of each pair of which one at least is no floor; an encoder above floors."""
    floors = [each.name for each in found if each.kind in ("random", "histogram")]
    judged = [each.name for each in found if each.name not in floors]
    among = [(b, a) for n, a in enumerate(judged) for b in judged[n + 1 :]]
    return [(name, floor) for name in judged for floor in floors] + among


def averages(judged: Sequence[Judged]) -> list[dict[str, Any]]:
    """Means over the tasks that all encoders of a protocol have: the paper's tables.

    Tasks of one cohort, as BreakHis at four magnifications, count as one.
    """
    told = []
    for (protocol, kind, metric), group in _comparable(judged).items():
        encoders = _shared(group)
        told += [
            {
                "protocol": protocol,
                "kind": kind,
                "metric": metric,
                "encoder": name,
                "value": _mean_over_cohorts(group, name, metric),
                "tasks": [each.block.task.name for each in group],
            }
            for name in encoders
        ]
    return told


def rankings(judged: Sequence[Judged]) -> dict[str, dict[str, Any]]:
    """Mean ranks of encoders over tasks, by protocol; where there are two tasks or more."""
    told = {}
    by_protocol: dict[str, list[Judged]] = {}
    for each in judged:
        if each.block.subset.is_whole:
            by_protocol.setdefault(each.block.protocol, []).append(each)
    for protocol, group in by_protocol.items():
        encoders = _shared(group)
        scores = np.array(
            [[_signed(each, name) for name in encoders] for each in group], np.float64
        )
        scores = scores[~np.isnan(scores).any(1)]
        if len(scores) < 2 or len(encoders) < 2:
            continue
        ranked = ranking.rank(scores, is_larger_better=True, level=statistics.LEVEL)
        told[protocol] = ranked._asdict() | {
            "encoders": encoders,
            "ranks": ranked.ranks.tolist(),
            "alike": [[encoders[n] for n in group] for group in ranked.alike],
        }
    return told


def _difference(
    judged: Judged, first: str, second: str, *, permutations: int, margin: float
) -> dict[str, Any]:
    task = judged.block.task
    difference = judged.measured.difference(first, second, task.metric)
    test = statistics.permutation_test(
        over_seeds(MEASURES[task.kind][0]),
        judged.block.one.truth,
        judged.predictions[first],
        judged.predictions[second],
        judged.groups,
        permutations=permutations,
        seed=SEED,
    )[task.metric]
    # What matters in an error depends on the targets' range.
    scale = float(np.ptp(judged.block.one.truth)) if task.metric == "l1" else 1.0
    plural = "patches" if judged.unit == "patch" else f"{judged.unit}s"
    note = _too_few(judged) or statistics.power_note(
        difference, units=judged.units, unit=plural, margin=margin * scale
    )
    return {
        "task": task.name,
        "protocol": judged.block.protocol,
        "subset": str(judged.block.subset),
        "metric": task.metric,
        "first": first,
        "second": second,
        "value": difference.value,
        "low": difference.low,
        "high": difference.high,
        "p": test.p,
        "exact": test.is_exact,
        "swaps": test.swaps,
        "units": judged.units,
        "unit": judged.unit,
        "note": note,
    }


def _too_few(judged: Judged) -> str:
    """Of fewer groups than intervals need: patches of one patient are no independent examples."""
    one = judged.block.one
    if one.grouping == "example" or judged.groups is not None:
        return ""
    return (
        f"too small to tell: {len(np.unique(one.groups))} test {one.grouping}(s); interval and p "
        "hold for more patches of the same"
    )


def _adjust(told: Sequence[dict[str, Any]], keys: tuple[str, ...]) -> None:
    """Adds p_holm, adjusted within the families that agree in `keys`."""
    families: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for each in told:
        families.setdefault(tuple(each[key] for key in keys), []).append(each)
    for family in families.values():
        adjusted = ranking.holm([each["p"] for each in family])
        for each, p in zip(family, adjusted, strict=True):
            each["p_holm"] = float(p)


def _comparable(judged: Sequence[Judged]) -> dict[tuple[str, str, str], list[Judged]]:
    """Whole blocks by protocol, kind and metric: macro-F1 of classes, whatever compares first."""
    groups: dict[tuple[str, str, str], list[Judged]] = {}
    for each in judged:
        if each.block.subset.is_whole:
            kind = each.block.task.kind
            key = each.block.protocol, kind, MEASURES[kind][1][0]
            groups.setdefault(key, []).append(each)
    return groups


def _shared(group: Sequence[Judged]) -> list[str]:
    return [
        name
        for name in group[0].block.outcomes
        if all(name in each.block.outcomes for each in group)
    ]


def _mean_over_cohorts(group: Sequence[Judged], encoder: str, metric: str) -> float:
    scores: dict[str, list[float]] = {}
    for each in group:
        scores.setdefault(each.block.task.about["cohort"], []).append(_score(each, encoder, metric))
    return float(np.mean([np.mean(each) for each in scores.values()]))


def _score(judged: Judged, encoder: str, metric: str) -> float:
    return judged.measured.values[encoder][metric]


def _signed(judged: Judged, encoder: str) -> float:
    metric = judged.block.task.metric
    score: Mapping[str, float] = judged.measured.values[encoder]
    return score[metric] if is_larger_better(metric) else -score[metric]
