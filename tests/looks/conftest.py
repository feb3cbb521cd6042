"""Patches to look at."""

import numpy as np
import pytest


@pytest.fixture(scope="session")
def make_sample():
    """make_sample(task=…, label=…, group=…, …): patches to look at, of noise unless given."""
    from histo_simclr.looks.sample import Sample

    def make(task, label, group, *, split=None, cohort=None, stain=None, mpp=None, patches=None):
        count = len(task)
        noise = np.random.default_rng(5).integers(0, 256, (count, 16, 16, 3), np.uint8)
        return Sample(
            patches=noise if patches is None else patches,
            task=task,
            split=np.full(count, "test") if split is None else split,
            row=np.arange(count),
            cohort=task if cohort is None else cohort,
            stain=np.full(count, "H&E") if stain is None else stain,
            organ=np.full(count, ""),
            mpp=np.full(count, 0.5) if mpp is None else mpp,
            label=label,
            group=group,
        )

    return make
