import numpy as np
import pytest

from histo_simclr.evaluate import stitch

SHAPES = [(64, 64), (64, 100), (131, 77), (65, 64)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("overlap", [0.0, 0.5, 0.75])
def test_tiles_of_a_field_give_the_field_again(shape, overlap):
    y, x = np.indices(shape)
    field = np.stack([np.ones(shape), 3.0 * x - 2.0 * y + 5.0], -1).astype(np.float32)
    places = stitch.corners(shape, 64, overlap)
    tiles = np.stack([field[y : y + 64, x : x + 64] for y, x in places])
    # float32 sums of up to 16 weighted tiles: a few units in the last place of 400.
    np.testing.assert_allclose(stitch.stitch(tiles, places, shape), field, rtol=1e-6, atol=2e-4)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("overlap", [0.0, 0.3, 0.5])
def test_neighboring_tiles_overlap_at_least_as_asked(shape, overlap):
    places = stitch.corners(shape, 64, overlap)
    for axis, length in enumerate(shape):
        line = np.unique(places[:, axis])
        assert line[0] == 0
        assert line[-1] == length - 64
        assert (np.diff(line) <= round(64 * (1 - overlap))).all()


def test_tile_without_overlap_is_taken_as_it_is():
    assert stitch.corners((128, 64), 64, 0.0).tolist() == [[0, 0], [64, 0]]


def test_middle_of_a_tile_outweighs_the_border_of_its_neighbor():
    tiles = np.zeros((2, 64, 64, 1), np.float32)
    tiles[1] = 1
    places = np.array([[0, 0], [0, 32]])
    found = stitch.stitch(tiles, places, (64, 96))[30, :, 0]
    assert (np.diff(found[32:64]) > 0).all()  # from one tile to the other without a step
    assert found[33] < 0.01
    assert found[62] > 0.99


def test_window_is_hanns_and_nowhere_zero():
    window = stitch.window(64)
    assert window.min() > 0
    halves = window[:, :32] + window[:, 32:]
    np.testing.assert_allclose(halves / halves[:, :1], 1, rtol=1e-5)


def test_small_image_is_mirrored_to_a_tile():
    image = np.arange(20 * 70 * 3).reshape(20, 70, 3)
    whole = stitch.padded(image, 64)
    assert whole.shape == (64, 70, 3)
    np.testing.assert_array_equal(whole[20:40], image[::-1])
