"""Saves a small model as the steps 1 and 2 in the folder that is given, with other values in 2."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import jax
from test_checkpoint import PROVENANCE, reopen, small

first = small(1).arrays
saved = reopen(Path(sys.argv[1]))
saved.save(1, first, PROVENANCE, features=None)
saved.wait()
saved.save(2, jax.tree.map(lambda leaf: leaf + 1, first), PROVENANCE, features=None)
saved.close()
