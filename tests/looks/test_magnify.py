import numpy as np
import pytest

from histo_simclr.looks import magnify

SIDE, PLACES = 64, 12
OPTIONS = {"places": PLACES, "batch_size": 5, "seed": 0}


@pytest.fixture
def sample(make_sample):
    """Stripes of a color, direction and width of their own: stripes of half the width are there."""
    rng = np.random.default_rng(0)
    color = rng.integers(60, 200, (PLACES, 1, 1, 3))
    wave = np.sin(np.arange(SIDE) * 2 * np.pi / 8)[None, :, None, None]
    patches = np.broadcast_to(color + 50 * wave, (PLACES, SIDE, SIDE, 3))
    task = np.repeat(["a", "b"], PLACES // 2)
    names = np.arange(PLACES).astype(str)
    return make_sample(task, task, names, patches=patches.astype(np.uint8))


def _mean_color(patches):
    return patches.mean((1, 2))


def _frequencies(patches):
    """Amplitudes down the middle: they move when stripes become wider."""
    rows = patches[:, :, 0, :].mean(-1)
    return np.abs(np.fft.rfft(rows - rows.mean(1, keepdims=True), axis=1))


def test_what_does_not_depend_on_scale_does_not_drift(sample):
    found = magnify.drifts(sample, _mean_color, **OPTIONS)
    assert set(found) == {"a", "b"}
    for each, _ in found.values():
        np.testing.assert_allclose(each.mpp, [0.5, 0.594, 0.719, 0.844, 1.0], atol=1e-3)
        assert each.distance[-1].max() < 1e-3
        assert each.spread[-1] > 20 * each.distance[-1].max()


def test_what_depends_on_scale_drifts_further_than_places_differ(sample):
    for each, moved in magnify.drifts(sample, _frequencies, **OPTIONS).values():
        # Stripes that are only moved are as wide as before.
        assert moved.max() < 0.1
        assert each.distance[-1, 0] > 0.8
        assert each.spread[-1] < 0.01


def test_the_batch_size_changes_nothing_and_is_always_full(sample):
    sizes = set()

    def encode(patches):
        sizes.add(patches.shape)
        return _mean_color(patches)

    found = magnify.drifts(sample, encode, **OPTIONS)
    assert sizes == {(5, SIDE // 2, SIDE // 2, 3)}
    whole = magnify.drifts(sample, _mean_color, **OPTIONS | {"batch_size": 100})
    np.testing.assert_array_equal(found["a"].drift.distance, whole["a"].drift.distance)


def test_a_crop_is_the_center(noise):
    patch = noise(SIDE, SIDE)[None]
    found = magnify.magnified(patch, 0.5, side=SIDE // 2)
    np.testing.assert_array_equal(found, patch[:, 16:48, 16:48])


def test_what_depends_on_the_place_moves_as_far_without_being_enlarged(sample, noise):
    """Pixels of noise: the corner is as strange to the center as the whole patch is."""
    patches = noise(SIDE, SIDE * PLACES).reshape(SIDE, PLACES, SIDE, 3).transpose(1, 0, 2, 3)

    def pixels(patches):
        return patches.reshape(len(patches), -1) - 127.5

    found = magnify.drifts(sample._replace(patches=patches), pixels, **OPTIONS)["a"]
    assert found.moved[-1] == pytest.approx(0, abs=1e-6)
    assert found.moved[0] == pytest.approx(found.drift.distance[-1, 0], abs=0.15)
    assert found.moved[0] > 0.8


def test_the_corner_is_the_corner(noise):
    patch = noise(SIDE, SIDE)[None]
    found = magnify.magnified(patch, 0.5, side=SIDE // 2, corner=True)
    np.testing.assert_array_equal(found, patch[:, :32, :32])


def test_places_are_spread_over_tasks(sample):
    found = magnify.drifts(sample, _mean_color, **OPTIONS | {"places": 6})
    assert [each.drift.places[0, 0] for each in found.values()] == [3, 3]
