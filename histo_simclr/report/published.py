"""What the paper reports, as far as its numbers could be recovered: averages only.

Ciga, Xu, Martel, arXiv 2011.13971v2, Tables 1 and 2, at second hand: from notes about the paper,
not from its text. F1 of single data sets and every standard deviation are not among them.
"""

from typing import NamedTuple

SOURCE = "Ciga, Xu, Martel, arXiv 2011.13971v2, Tables 1 and 2, recovered at second hand"
ARCHITECTURES = ("ResNet-18", "ResNet-34", "ResNet-50", "ResNet-101")


class Published(NamedTuple):
    """One line: architecture → number as printed; what is missing was not recovered."""

    setting: str
    numbers: dict[str, float]


class Scale(NamedTuple):
    """Lines of one kind, and what their numbers are."""

    about: str
    lines: tuple[Published, ...]


_MEAN = "macro-F1 × 100, the mean of BACH, Lymph, BreakHis, NCT-CRC-HE-100K and Gleason2019"
FROZEN = Scale(
    _MEAN,
    (
        Published("random init", {"ResNet-18": 35.5}),
        Published("ImageNet, supervised", {"ResNet-18": 41.1, "ResNet-50": 46.4}),
        Published("self-supervised", {"ResNet-18": 69.3, "ResNet-50": 69.6}),
    ),
)
FINE_TUNED = Scale(
    _MEAN,
    (
        Published("random init", {"ResNet-18": 55.7, "ResNet-50": 55.3}),
        Published("ImageNet, supervised", {"ResNet-18": 66.7, "ResNet-50": 65.8}),
        Published("self-supervised", {"ResNet-18": 77.0, "ResNet-50": 76.9}),
    ),
)
REGRESSION = Scale(
    "L1 × 100 on BreastPathQ, fine-tuned; less is better; the network is not stated, ResNet-18 by "
    "context",
    (
        Published("ImageNet, supervised", {"ResNet-18": 9.3}),
        Published("self-supervised", {"ResNet-18": 6.6}),
    ),
)
SEGMENTATION = Scale(
    "segmentation score of 0 to 100 on BACH and DigestPath2019; whether Dice or another F1 is not "
    "known",
    (
        Published(
            "ImageNet, supervised", {"ResNet-18": 73.5, "ResNet-50": 69.7, "ResNet-101": 69.0}
        ),
        Published("self-supervised", {"ResNet-18": 74.0, "ResNet-50": 66.7, "ResNet-101": 65.9}),
    ),
)
