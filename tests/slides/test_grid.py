import numpy as np
import pytest

from histo_simclr.slides import grid
from histo_simclr.slides.grid import Target
from histo_simclr.slides.resolution import Resolution

SIZE = (6000, 4000)
RESOLUTION = Resolution(0.25, 0.251, "test")
THREE = [Target(0.25, 1.0), Target(0.5, 1.0), Target(1.0, 1.0)]


@pytest.fixture(scope="module")
def mask():
    """Tissue in an ellipse, at 32 level-0 px a pixel."""
    rows, columns = np.mgrid[:125, :188]
    return ((rows - 60) / 50) ** 2 + ((columns - 90) / 80) ** 2 < 1


def choose(mask, targets=THREE, px=64, **given):
    settings = {"slide": "S", "count": 300, "least_tissue": 0.5, "may_overlap": False, "seed": 1}
    grids = [grid.lay(mask, SIZE, RESOLUTION, target.mpp, px, 0.25) for target in targets]
    return grid.choose(grids, targets, **settings | given)


def boxes(places, px=64):
    wide, tall = px * places.mpp / RESOLUTION.x, px * places.mpp / RESOLUTION.y
    return np.stack([places.x, places.y, places.x + wide, places.y + tall], axis=1)


def overlaps(a, b):
    """(n, m) bool, in the plain way."""
    a, b = a[:, None], b[None]
    inside = (a[..., :2] < b[..., 2:] - 1e-6) & (b[..., :2] < a[..., 2:] - 1e-6)
    return inside.all(axis=2)


def counts(places):
    return dict(
        zip(*(each.tolist() for each in np.unique(places.mpp, return_counts=True)), strict=True)
    )


def test_shares_are_kept_and_nothing_overlaps(mask):
    places = choose(mask)
    assert counts(places) == {0.25: 100, 0.5: 100, 1.0: 100}
    found = boxes(places)
    assert overlaps(found, found).sum() == len(found)  # each with itself
    assert found.min() >= 0
    assert (found[:, 2:] <= SIZE).all()


def test_unequal_shares(mask):
    places = choose(mask, [Target(0.25, 3), Target(0.5, 1)], count=200)
    assert counts(places) == {0.25: 150, 0.5: 50}


@pytest.mark.parametrize("px", [60, 224])
def test_small_tissue_shrinks_all_shares_alike(mask, px):
    places = choose(mask, px=px, count=100_000)
    found = boxes(places, px)
    assert overlaps(found, found).sum() == len(found)
    each = list(counts(places).values())
    assert len(each) == 3
    assert max(each) - min(each) <= max(2, 0.25 * max(each))


def test_tissue_share_is_the_mean_of_the_mask(mask):
    laid = grid.lay(mask, SIZE, RESOLUTION, 0.5, 100)
    fine = np.kron(mask, np.ones((32, 32)))[: SIZE[1], : SIZE[0]]
    # 188 · 32 is 6,016: the mask's pixels are a little narrower than 32 px.
    for row, column in ((0, 0), (3, 12), (9, 14), (13, 20)):
        left, top = column * laid.step[0], row * laid.step[1]
        wide, tall = (round(each) for each in laid.side)
        expected = fine[top : top + tall, left : left + wide].mean()
        assert laid.tissue[row, column] == pytest.approx(expected, abs=0.03)
    assert {0.0, 1.0} < set(laid.tissue.ravel().tolist())


def test_tissue_share_is_exact_where_edges_meet():
    mask = np.zeros((10, 10), bool)
    mask[:, 5:] = True
    laid = grid.lay(mask, (1000, 1000), Resolution(1.0, 1.0, ""), 1.0, 300)
    assert laid.step == (300, 300)
    np.testing.assert_allclose(laid.tissue[0], [0, 1 / 3, 1], atol=1e-6)


@pytest.mark.parametrize(("overlap", "step"), [(0, 300), (1, 299), (100, 200), (299, 1)])
def test_neighbors_share_the_overlap_asked_for(overlap, step):
    mask = np.ones((10, 10), bool)
    resolution = Resolution(1.0, 0.5, "")
    laid = grid.lay(mask, (1000, 2000), resolution, 1.0, 300, overlap=overlap)
    assert laid.side == (300, 600)
    assert laid.step == (step, 2 * step)
    assert laid.tissue.shape == (700 // step + 1, 700 // step + 1)


def test_only_tissue_is_chosen(mask):
    places = choose(mask, least_tissue=0.9, count=50)
    assert places.tissue.min() >= 0.9
    assert len(choose(np.zeros_like(mask)).x) == 0
    assert len(choose(np.zeros_like(mask), least_tissue=0.0).x) == 0


def test_one_patch_of_tissue_gives_one_patch(mask):
    one = np.zeros_like(mask)
    one[52:54, 62:64] = True  # 32 px each: one place of 64 px at 0.25 µm/px
    assert counts(choose(one)) == {0.25: 1}


def test_choice_depends_on_seed_and_slide_alone(mask):
    same, again = choose(mask), choose(mask)
    for a, b in zip(same, again, strict=True):
        np.testing.assert_array_equal(a, b)
    for other in (choose(mask, seed=2), choose(mask, slide="T")):
        assert not np.array_equal(same.x, other.x)
    # A further µm/px does not redraw the coarser ones.
    coarse = choose(mask, THREE[1:], count=200)
    np.testing.assert_array_equal(same.x[same.mpp > 0.25], coarse.x)


def test_places_are_spread_over_the_tissue(mask):
    places = choose(mask, [Target(0.25, 1)], count=600)
    half = np.median(np.argwhere(mask)[:, 1]) * 32
    assert 250 < (places.x < half).sum() < 350


def test_overlap_is_there_when_it_is_allowed(mask):
    places = choose(mask, may_overlap=True, count=450)
    assert counts(places) == {0.25: 150, 0.5: 150, 1.0: 150}
    found = boxes(places)
    assert overlaps(found, found).sum() > len(found)


def test_finer_ones_take_what_the_coarsest_cannot_fill(mask):
    targets = [Target(0.25, 1), Target(4.0, 1)]
    places = choose(mask, targets, may_overlap=True, count=200)
    assert len(places.x) == 200
    assert counts(places)[4.0] < 100


def test_order_is_by_mpp_then_row_by_row(mask):
    places = choose(mask)
    order = np.lexsort((places.x, places.y, places.mpp))
    np.testing.assert_array_equal(order, np.arange(len(order)))
