import numpy as np
import pytest
from skimage import color

from histo_simclr.prepare import stain_statistics

PIXELS = np.random.default_rng(0).integers(0, 256, (64, 16, 3), dtype=np.uint8)
PIXELS[0, :4] = [[0, 0, 0], [255, 255, 255], [255, 0, 0], [9, 10, 11]]


def test_lab_is_that_of_scikit_image():
    np.testing.assert_allclose(stain_statistics.lab(PIXELS), color.rgb2lab(PIXELS), atol=1e-3)


def test_hed_is_that_of_scikit_image():
    np.testing.assert_allclose(stain_statistics.hed(PIXELS), color.rgb2hed(PIXELS), atol=1e-9)


@pytest.mark.parametrize(("space", "convert"), [("lab", color.rgb2lab), ("hed", color.rgb2hed)])
def test_summary_is_the_spread_within_and_between_patches(space, convert):
    patches = [PIXELS[:32].reshape(-1, 3), PIXELS[32:].reshape(-1, 3), PIXELS[:4].reshape(-1, 3)]
    found = stain_statistics.summarize(patches)
    assert found["patches"] == 3
    means = np.array([convert(patch).mean(0) for patch in patches])
    stds = np.array([convert(patch).std(0) for patch in patches])
    expected = {"mean_of_means": means.mean(0), "std_of_means": means.std(0)}
    expected |= {"mean_of_stds": stds.mean(0), "std_of_stds": stds.std(0)}
    assert found[space].keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(found[space][name], values, atol=1e-3)
