"""Are these patches what the encoder expects? Converts what is beyond doubt, and says so."""

import itertools
import warnings
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
        self._said: set[str] = set()

    def __call__(self, patches: Any) -> np.ndarray:
        """(N, height, width, 3) uint8.

        Raises:
          InputError: no such array can be made of it without guessing.
        """
        patches = self._in_order(np.asarray(patches))
        patches = self._in_range(patches)
        if len(patches) >= ENOUGH_PATCHES:
            self._look(patches)
        return patches

    def _in_order(self, patches: np.ndarray) -> np.ndarray:
        shape = patches.shape
        if len(shape) != 4 or 0 in shape[1:]:
            raise _refused(f"shape {shape}")
        if shape[3] == 3:
            return patches
        if shape[1] == 3:
            self._warn("order", f"shape {shape} has the channels first: turned round")
            return patches.transpose(0, 2, 3, 1)
        if shape[3] == 4:
            raise _refused(f"shape {shape} has a fourth channel: lay it on white first")
        raise _refused(f"shape {shape}")

    def _in_range(self, patches: np.ndarray) -> np.ndarray:
        if patches.dtype == np.uint8:
            return patches
        kind = patches.dtype.kind
        if kind not in "fiu" or not np.isfinite(patches).all():
            raise _refused(f"dtype {patches.dtype}, or NaN")
        low, high = float(patches.min(initial=0)), float(patches.max(initial=0))
        if low < 0:
            raise _refused(
                f"values from {low:.3g}: these were normalized before, and that is done here"
            )
        if kind == "f" and high <= 1:
            self._warn("range", f"{patches.dtype} from {low:.3g} to {high:.3g}: multiplied by 255")
            return np.round(patches * 255).astype(np.uint8)
        if high > 255:
            raise _refused(f"values up to {high:.6g}")
        self._warn("dtype", f"{patches.dtype} from {low:.3g} to {high:.3g}: rounded to uint8")
        return np.round(patches).astype(np.uint8)

    def _look(self, patches: np.ndarray) -> None:
        mean = patches[:, ::4, ::4].reshape(-1, 3).mean(0) / 255
        orders = [list(order) for order in itertools.permutations(range(3))]
        given, *others = (self._distance(mean[order]) for order in orders)
        if given > SUSPECT and min(others) < given / 2:
            what, guess = "channels", "are red, green and blue in this order?"
        elif given > FAR:
            what, guess = "statistics", "another stain, background alone, or inverted?"
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


class InputWarning(UserWarning):
    """Patches that are not what an encoder expects, or do not look like it."""


def _refused(found: str) -> InputError:
    return InputError(found, where="patches", way_out=EXPECTED)
