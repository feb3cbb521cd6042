"""How results are called and written in the report: names of metrics and protocols, numbers."""

import math
from collections.abc import Sequence
from typing import NamedTuple

MINUS, NONE = "\N{MINUS SIGN}", "\N{EN DASH}"


class Metric(NamedTuple):
    """Name in a head, what it is multiplied by there, and whether more is better."""

    title: str
    scale: int = 1
    is_larger_better: bool = True


METRICS = {
    "macro_f1": Metric("macro-F1"),
    "accuracy": Metric("accuracy"),
    "balanced_accuracy": Metric("balanced accuracy"),
    "auroc": Metric("AUROC"),
    # As the paper prints it.
    "l1": Metric("L1 × 100", scale=100, is_larger_better=False),
    "r2": Metric("R²"),
    "spearman": Metric("Spearman"),
    "dice": Metric("Dice"),
    "iou": Metric("IoU"),
    "object_f1": Metric("F1 of objects"),
    "f1": Metric("F1"),
}
# In the order in which they are shown.
PROTOCOLS = {
    "linear": "linear probe",
    "sgd": "linear probe trained by SGD, as in papers",
    "knn": "k nearest neighbors",
    "centroid": "nearest class centroid",
    "ridge": "ridge regression",
    "least_squares": "linear regression",
    "finetune": "fine-tuned",
    "unet_frozen": "U-Net on the frozen encoder",
    "unet_finetuned": "U-Net, encoder fine-tuned",
    "mean_pool": "mean of a slide's features, then a linear probe",
    "attention": "gated attention over a slide's features",
}
ENCODERS = {
    "checkpoint": "checkpoint",
    "features": "features computed elsewhere",
    "random": "floor: not trained",
    "histogram": "floor: colors only",
}
FLOORS = ("random", "histogram")


def metric(name: str) -> Metric:
    """What is known of a metric; one that is not known is called by its name."""
    return METRICS.get(name) or Metric(name.replace("_", " "))


def protocol(name: str) -> str:
    """A protocol in words."""
    return PROTOCOLS.get(name, name)


def plainly(name: str) -> str:
    """A metric's name without the factor of its tables."""
    return metric(name).title.removesuffix(" × 100")


def ordered(protocols: Sequence[str]) -> list[str]:
    """Each once, in the order of PROTOCOLS, others behind."""
    known = list(PROTOCOLS)
    place = {name: known.index(name) if name in known else len(known) for name in protocols}
    return sorted(place, key=lambda name: (place[name], name))


def number(value: float | None, *, scale: int = 1, sign: bool = False) -> str:
    """Three decimals, one when multiplied; NONE for what is not defined."""
    if value is None:
        return NONE
    text = f"{value * scale:{'+' if sign else ''}.{3 if scale == 1 else 1}f}"
    return text.replace("-", MINUS)


def interval(low: float | None, high: float | None, *, scale: int = 1, sign: bool = False) -> str:
    """[low, high], or nothing where neither is defined."""
    if low is None and high is None:
        return ""
    return f"[{number(low, scale=scale, sign=sign)}, {number(high, scale=scale, sign=sign)}]"


def probability(p: float | None) -> str:
    """Two digits; what is tiny, as less than 0.0001."""
    if p is None:
        return NONE
    if p < 1e-4:
        return "< 0.0001"
    return f"{p:.{max(2, 1 - math.floor(math.log10(p)))}f}"


def count(value: float | None, unit: str = "") -> str:
    """1,234 patches; 1 patch. The unit may come in either number; weighted counts are floats."""
    if value is None:
        return NONE
    if not unit:
        return f"{value:,.0f}"
    one = "patch" if unit in ("patch", "patches") else unit.removesuffix("s")
    many = "patches" if one == "patch" else f"{one}s"
    return f"{value:,.0f} {one if value == 1 else many}"


def plain(value: object) -> str:
    """A JSON value for people: lists by commas, nothing as NONE."""
    if value is None or value == "":
        return NONE
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(plain, value)) or NONE
    if isinstance(value, dict):
        return "; ".join(f"{key}: {plain(each)}" for key, each in value.items()) or NONE
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def real(value: float | None) -> float:
    """A JSON number as a float; null is NaN."""
    return math.nan if value is None else float(value)


def capital(text: str) -> str:
    """A text that begins a line."""
    return text[:1].upper() + text[1:]
