"""One source image and what is known of it, before its pixels are read."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

# What a path pattern can tell; a CSV can tell these, the two numbers and the target.
TEXT_FIELDS = ("label", "split", "slide", "patient", "stain", "organ")
NUMBER_FIELDS = ("mpp", "magnification")
# A number to predict, such as a score; like the label it is the image's own, never a default.
TARGET_FIELD = "target"
# A patient, case or animal: whatever must not straddle training and test.
SYNONYMS = {"group": "patient"}


class Item(NamedTuple):
    """One source image.

    Fields:
      name: path relative to the source; unique in it.
      data: file path to read, or the image's bytes.
      label, split, slide, patient, stain, organ: empty when unknown.
      mpp: µm/px of the source's pixels; 0 when unknown.
      magnification: objective power; 0 when unknown.
      mask: file path of its mask; empty when it has none.
      target: number to predict; None when it has none.
      reason: why the image is to be left out; empty when it is not.
    """

    name: str
    data: str | bytes
    label: str = ""
    split: str = ""
    slide: str = ""
    patient: str = ""
    stain: str = ""
    organ: str = ""
    mpp: float = 0.0
    magnification: float = 0.0
    mask: str = ""
    target: float | None = None
    reason: str = ""


# Walks the images of a source, any number of times, in the same order each time.
Walk = Callable[[], Iterator[Item]]
