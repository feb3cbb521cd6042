"""The protocols of a suite by name: for which tasks, and what they need."""

from collections.abc import Callable
from typing import NamedTuple

from histo_simclr.suite import frozen, slide_level, tuned
from histo_simclr.suite.cells import Inputs, Outcome


class Protocol(NamedTuple):
    """A way of judging.

    Fields:
      kinds: of tasks that it judges.
      run: `Inputs` and the settings of that name in the configuration → `Outcome`.
      title: in words.
      needs_network: whether features do not suffice.
      least: labelled examples of a class without which nothing can be chosen.
    """

    kinds: tuple[str, ...]
    run: Callable[..., Outcome]
    title: str
    needs_network: bool = False
    least: int = 1


_CLASSES, _TARGETS = ("classification",), ("regression",)
_MASKS, _SLIDES = ("segmentation",), ("slides",)
PROTOCOLS: dict[str, Protocol] = {
    "linear": Protocol(_CLASSES, frozen.linear, "convex linear probe", least=2),
    "sgd": Protocol(_CLASSES, frozen.sgd, "linear probe trained by a recipe"),
    "knn": Protocol(_CLASSES, frozen.knn, "k nearest neighbors", least=2),
    "centroid": Protocol(_CLASSES, frozen.centroid, "nearest class centroid"),
    "ridge": Protocol(_TARGETS, frozen.ridge, "ridge regression", least=2),
    "least_squares": Protocol(_TARGETS, frozen.least_squares, "linear regression"),
    "finetune": Protocol(
        _CLASSES + _TARGETS, tuned.finetune, "fine-tuned, all layers", needs_network=True, least=2
    ),
    "unet_frozen": Protocol(_MASKS, tuned.unet, "U-Net on the frozen encoder", needs_network=True),
    "unet_finetuned": Protocol(_MASKS, tuned.unet, "U-Net, encoder learns", needs_network=True),
    "mean_pool": Protocol(_SLIDES, slide_level.mean_pool, "mean feature of a slide", least=2),
    "attention": Protocol(_SLIDES, slide_level.attention, "gated attention (MIL)", least=2),
}


def run(name: str, inputs: Inputs, settings: dict) -> Outcome:
    """What a protocol says of a task's test split."""
    return PROTOCOLS[name].run(inputs, **settings)
