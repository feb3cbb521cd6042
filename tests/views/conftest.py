"""Golden pictures, and the recipe that the tests of this folder draw with."""

import contextlib
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

RECIPE = {
    "crop_scale": (0.2, 1.0),
    "crop_ratio": (3 / 4, 4 / 3),
    "horizontal_flip": 0.5,
    "vertical_flip": 0.5,
    "quarter_turn": 1.0,
    "jitter_probability": 0.8,
    "jitter_strength": 1.0,
    "brightness": 0.8,
    "contrast": 0.8,
    "saturation": 0.8,
    "hue": 0.2,
    "gray_probability": 0.2,
    "blur_probability": 0.5,
    "blur_sigma": (0.1, 2.0),
    "mean": (0.5, 0.5, 0.5),
    "std": (0.5, 0.5, 0.5),
}


@pytest.fixture(scope="session")
def recipe():
    return dict(RECIPE)


@pytest.fixture(scope="session")
def golden(golden_dir):
    """Outputs of torchvision in float64, stored as float32; `tiles` and `ihc` are their sources."""
    values = dict(np.load(golden_dir / "augment_views.npz"))
    return values | {"ihc": np.load(golden_dir / "augment_source.npz")["ihc"]}


@pytest.fixture(scope="session")
def golden_info(golden_dir):
    return json.loads((golden_dir / "augment_info.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def patches(golden):
    """(16, 48, 48, 3) uint8, all different."""
    corners = np.random.default_rng(5).integers(0, 512 - 48, (16, 2))
    return np.stack([golden["ihc"][y : y + 48, x : x + 48] for y, x in corners])


@pytest.fixture(params=["float32", "float64"])
def dtype(request):
    """Each test that asks for it runs in both; float64 is where a wrong convention cannot hide."""
    wide = jax.enable_x64(True) if request.param == "float64" else contextlib.nullcontext()
    with wide:
        yield jnp.dtype(request.param)


@pytest.fixture
def planes(golden, dtype):
    """The tiles as row planes (3, 64, 3, 64)."""
    return to_planes(golden["tiles"], dtype)


@pytest.fixture(scope="session")
def pictures():
    """Row planes back to pictures (B, H, W, 3)."""
    return lambda planes: np.asarray(planes).transpose(0, 1, 3, 2)


def to_planes(pictures, dtype):
    # Division in float32, as the references were made.
    scaled = pictures.astype(np.float32) / np.float32(255)
    return jnp.asarray(scaled.astype(dtype).transpose(0, 1, 3, 2))
