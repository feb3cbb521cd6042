"""Reference values of scikit-learn."""

import json
from types import SimpleNamespace

import numpy as np
import pytest


@pytest.fixture(scope="session")
def reference(golden_dir) -> SimpleNamespace:
    """Arrays and numbers of scikit-learn 1.9.1 (tests/golden/evaluate.*)."""
    arrays = dict(np.load(golden_dir / "evaluate.npz"))
    numbers = json.loads((golden_dir / "evaluate.json").read_text())
    return SimpleNamespace(arrays=arrays, numbers=numbers)
