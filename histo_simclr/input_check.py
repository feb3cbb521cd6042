"""Are these patches what the encoder expects? Converts what is beyond doubt, and says so."""

import itertools
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from histo_simclr.errors import InputError
from histo_simclr.provenance import Provenance

EXPECTED = "expected (N, height, width, 3) uint8, red, green, blue, 0 to 255, as read from a file"
# Statistics of a batch are looked at from this many pixels on: of fewer, anything can be.
ENOUGH_PATCHES = 16
# Distance of a batch's mean color from that of the training patches, in their standard deviation.
# Of the embedded cohorts the farthest is 1.0 away from the mean of their mix.
FAR = 2.0
# Channels in another order are suspected where the order given is this far away, and another one
# less than half as far. Red and blue of H&E differ too little: their exchange stays unseen.
SUSPECT = 0.5
OVERSHOOT = 0.05  # of the range
# Floats whose largest lies between 1 and this are neither 0 to 1 nor 0 to 255: normalized before.
FRACTIONS = 16.0
FLAT = 0.02  # largest standard deviation of a channel in [0, 1] where nothing is to be seen
MOST_ENLARGED = 2.0  # px of the encoder over px of a patch, before it is told
# Of tissue in bright field where the training's statistics are unknown.
TISSUE_MEAN, TISSUE_STD = (0.70, 0.54, 0.66), (0.22, 0.26, 0.21)  # arXiv 2212.04690


class Check:
    """Looks at each batch on its way in; warns of one thing once.

    Args:
      provenance: of the encoder; its mix says how the training patches looked.
    """

    def __init__(self, provenance: Provenance):
        statistics = provenance.mix.get("statistics") or {}
        self._mean = np.array(statistics.get("mean", TISSUE_MEAN))
        self._std = np.array(statistics.get("std", TISSUE_STD))
        self._whose = "the training patches'" if statistics else "that of tissue in general"
        self._px = provenance.px
        self._said: set[str] = set()

    def batch(self, patches: Any) -> "Batch":
        """The patches as the encoder takes them, converted when they are asked for.

        Args:
          patches: (N, height, width, 3), or one (height, width, 3); what can be seen of all of them
            decides how each is converted.

        Raises:
          InputError: it would have to be guessed what they are.
        """
        try:
            array = np.asarray(patches)
        except ValueError:
            raise _refused("patches of several sizes in one batch") from None
        array = self._in_order(array[None] if array.ndim == 3 else array)
        return Batch(array, self._conversion(array), self._look)

    def _in_order(self, patches: np.ndarray) -> np.ndarray:
        shape = patches.shape
        if len(shape) != 4 or 0 in shape[1:]:
            raise _refused(f"shape {shape}")
        if shape[3] != 3 and shape[1] == 3:
            self._warn("order", f"shape {shape} has the channels first: turned round")
            patches = patches.transpose(0, 2, 3, 1)
        elif shape[3] == 4:
            raise _refused(f"shape {shape} has a fourth channel: lay it on white first")
        elif shape[3] != 3:
            raise _refused(f"shape {shape}")
        height, width = patches.shape[1:3]
        if height != width:
            self._warn("square", f"{height} × {width} px are stretched to {self._px} × {self._px}")
        elif height < self._px / MOST_ENLARGED:
            self._warn("side", f"{height} px are enlarged to {self._px}")
        return patches

    def _conversion(self, patches: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        kind = patches.dtype.kind
        if patches.dtype == np.uint8 or not len(patches):
            return lambda part: part.astype(np.uint8, copy=False)
        if kind not in "fiu":
            raise _refused(f"dtype {patches.dtype}")
        low, high = float(patches.min()), float(patches.max())
        found = f"{patches.dtype} from {low:.3g} to {high:.3g}"
        if not np.isfinite([low, high]).all():
            raise _refused(f"{patches.dtype} with NaN or infinity")
        # Resizing with a sharp kernel leaves floats a little outside the range.
        scale = 1 if kind == "f" and high < FRACTIONS else 255
        slack = OVERSHOOT * scale if kind == "f" else 0
        if low < -slack:
            raise _refused(f"{found}: these were normalized before, and that is done here")
        if high > scale + slack:
            raise _refused(f"{found}: neither 0 to 1 nor 0 to 255")
        done = "multiplied by 255" if scale == 1 else "rounded to uint8"
        self._warn(done, f"{found}: {done}")
        return lambda part: np.round(np.clip(part, 0, scale) * (255 // scale)).astype(np.uint8)

    def _look(self, patches: np.ndarray) -> None:
        if len(patches) < ENOUGH_PATCHES:
            return
        pixels = patches[:, ::4, ::4].reshape(-1, 3) / np.float32(255)
        mean = pixels.mean(0)
        orders = [list(order) for order in itertools.permutations(range(3))]
        given, *others = (self._distance(mean[order]) for order in orders)
        if given > SUSPECT and min(others) < given / 2:
            what, guess = "channels", "are red, green and blue in this order?"
        elif given > FAR:
            what, guess = "statistics", "another stain, or inverted?"
        elif pixels.std(0).max() < FLAT:
            what, guess = "flat", "and nothing but this color: background alone?"
        else:
            return
        found, known = ("({:.2f}, {:.2f}, {:.2f})".format(*each) for each in (mean, self._mean))
        self._warn(what, f"mean color {found}, {self._whose} is {known}: {guess}")

    def _distance(self, mean: np.ndarray) -> float:
        return float(np.abs((mean - self._mean) / self._std).max())

    def _warn(self, what: str, found: str) -> None:
        if what not in self._said:
            self._said.add(what)
            warnings.warn(f"patches: {found}; {EXPECTED}", InputWarning, stacklevel=6)


class Batch:
    """Patches of one batch; `batch[start:stop]` is (n, height, width, 3) uint8.

    Args:
      patches: (N, height, width, 3) of any type.
      convert: makes uint8 of a part.
      look: is shown each part.
    """

    def __init__(
        self,
        patches: np.ndarray,
        convert: Callable[[np.ndarray], np.ndarray],
        look: Callable[[np.ndarray], None],
    ):
        self._patches, self._convert, self._look = patches, convert, look

    def __len__(self) -> int:
        return len(self._patches)

    def __getitem__(self, part: slice) -> np.ndarray:
        found = self._convert(self._patches[part])
        self._look(found)
        return found


class InputWarning(UserWarning):
    """Patches that are not what an encoder expects, or do not look like it."""


def _refused(found: str) -> InputError:
    return InputError(found, where="patches", way_out=EXPECTED)
