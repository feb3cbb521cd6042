"""What every test runs in: eight simulated CPU devices, a compile cache, strict JAX."""

import os
import tempfile
from pathlib import Path

# TensorFlow reads it at import: no banner between the test results.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Programs that tests start in a subprocess share the cache with the tests themselves.
os.environ.setdefault(
    "JAX_COMPILATION_CACHE_DIR", str(Path(tempfile.gettempdir()) / "histo_simclr_jax_cache")
)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import pytest

jax.config.update("jax_num_cpu_devices", 8)
# A (3,) that meets a (B, H, W, 3) by accident is an error here, not a broadcast.
jax.config.update("jax_numpy_rank_promotion", "raise")

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture(scope="session")
def golden_dir() -> Path:
    """Folder of the reference values; README.md there says how each was made."""
    return GOLDEN


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Programs first: they take longest, and the other worker fills up with the rest meanwhile."""
    items.sort(key=lambda item: "programs" not in item.path.parts)
