"""What an encoder makes of eight embedded patches: carried by every checkpoint and export.

Whoever loads weights, in whatever form, computes these features again. Weights of another network,
another normalization, a student in place of its teacher, channels in another order: all of that
loads without an error, and shows here.
"""

import base64
import functools
import hashlib
import io
from collections.abc import Sequence
from importlib import resources
from typing import Any

import jax
import numpy as np
from flax import nnx
from PIL import Image

from histo_simclr import encode
from histo_simclr import mesh as meshes
from histo_simclr.errors import InputError
from histo_simclr.model.resnet import ResNet
from histo_simclr.provenance import Provenance

COUNT, SIDE = 8, 96
# Of the largest feature. Devices and libraries differ by 1e-6 to 1e-4 in float32 (torch's
# ResNet-101 by 1.3e-4 from float64); bfloat16 weights or ImageNet's statistics by 1e-3 and more.
TOLERANCE = 1e-3


@functools.cache
def patches() -> np.ndarray:
    """(8, 96, 96, 3) uint8: real tissue under CC0, six patches of PatchCamelyon, two of DSB 2018.

    Lossless, so that they are the same whatever decodes them.
    """
    strip = np.asarray(Image.open(io.BytesIO(patches_file())))
    found = np.ascontiguousarray(strip.reshape(SIDE, COUNT, SIDE, 3).transpose(1, 0, 2, 3))
    found.setflags(write=False)
    return found


def patches_file() -> bytes:
    """The same as a PNG of the patches side by side, for those who have none of our code."""
    return resources.files("histo_simclr").joinpath("fingerprint_patches.png").read_bytes()


def compute(encoder: ResNet, *, px: int, mean: Sequence[float], std: Sequence[float]) -> np.ndarray:
    """Features of the patches, by the program of `encode`.

    Args:
      encoder: in eval mode, on any devices; each process computes on one of its own.
      px, mean, std: what it expects; mean and std per channel of pixels in [0, 1].

    Returns:
      (8, num_features) float32.
    """
    mesh = meshes.local(1)
    # The training forbids transfers that nobody asked for; these are.
    with jax.transfer_guard("allow"):
        program = encode.encoding(encoder, px=px, mean=mean, std=std, mesh=mesh)
        # One by one: all at once need more memory than the weights of a ResNet-50.
        parts = [jax.device_put(each[None], meshes.replicated(mesh)) for each in patches()]
        return np.concatenate([np.asarray(program(each)) for each in parts])


def of_training(encoder: nnx.State, looks: Provenance) -> dict[str, Any]:
    """`to_json` of an encoder while it is trained.

    Args:
      encoder: its parameters and batch statistics.
      looks: says its architecture and what it expects.
    """
    frame = nnx.eval_shape(lambda: ResNet(looks.arch, rngs=nnx.Rngs(0)))
    frame.eval()
    network = nnx.merge(nnx.split(frame)[0], encoder)
    return to_json(compute(network, px=looks.px, mean=looks.mean, std=looks.std))


def to_json(features: np.ndarray) -> dict[str, Any]:
    """Features as JSON values: float32 in base64, little-endian, and of which patches they are."""
    return {
        "patches": _digest(),
        "shape": list(features.shape),
        "float32": base64.b64encode(features.astype("<f4").tobytes()).decode(),
    }


def _digest() -> str:
    return hashlib.sha256(patches().tobytes()).hexdigest()


def from_json(content: dict[str, Any]) -> np.ndarray:
    """(8, D) float32 of `to_json`.

    Raises:
      ValueError: it is none.
    """
    try:
        flat = np.frombuffer(base64.b64decode(content["float32"], validate=True), "<f4")
        return flat.reshape(content["shape"]).astype(np.float32)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"no fingerprint ({error})") from error


def difference(found: np.ndarray, expected: np.ndarray) -> float:
    """Largest difference, relative to the largest feature; infinite for other shapes or NaN."""
    if found.shape != expected.shape:
        return float("inf")
    largest = np.abs(found - expected).max() / max(float(np.abs(expected).max()), 1e-30)
    return float(largest) if np.isfinite(largest) else float("inf")


def check(
    encoder: ResNet, looks: Provenance, stored: dict[str, Any] | None, *, where: object
) -> None:
    """Refuses an encoder that does not give the features it was written with.

    Args:
      encoder: in eval mode.
      looks: what it expects.
      stored: `to_json` of when it was written; None in files without one: nothing to compare.
      where: file or folder that it was read from.

    Raises:
      InputError: the features differ by more than TOLERANCE, or the fingerprint is damaged.
    """
    if stored is not None:
        compare(compute(encoder, px=looks.px, mean=looks.mean, std=looks.std), stored, where=where)


def compare(found: np.ndarray, stored: dict[str, Any], *, where: object) -> None:
    """The same of features that something else computed of the patches, as a program does."""
    try:
        expected = from_json(stored)
    except ValueError as error:
        raise InputError(str(error), where=where, way_out="get the file anew") from error
    if stored.get("patches") != _digest():
        raise InputError(
            "its fingerprint is of other patches", where=where, way_out="update histo_simclr"
        )
    if (apart := difference(found, expected)) > TOLERANCE:
        raise InputError(
            f"gives other features than it was written with: the fingerprint of {COUNT} patches "
            f"differs by {apart:.1g} of the largest feature (tolerance {TOLERANCE:g})",
            where=where,
            way_out="weights, normalization or architecture were changed after it was written: "
            "get the file anew, or import the weights with what they expect",
        )
