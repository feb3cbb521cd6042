import numpy as np
import pytest
from sklearn import metrics

from histo_simclr.evaluate import overlap

K = 4


@pytest.fixture(scope="module")
def pair():
    """Truth and prediction of 6 images; class 3 is nowhere in the first image."""
    rng = np.random.default_rng(0)
    truth = rng.integers(K, size=(6, 20, 30)).astype(np.uint8)
    truth[0][truth[0] == 3] = 1
    wrong = rng.random(truth.shape) < 0.4
    predicted = np.where(wrong, rng.integers(K, size=truth.shape), truth).astype(np.uint8)
    predicted[0][predicted[0] == 3] = 0
    return truth, predicted


def test_dice_and_iou_are_scikit_learns_f1_and_jaccard(pair):
    truth, predicted = pair
    found = overlap.values(overlap.count(truth, predicted, num_classes=K))
    flat = truth.ravel(), predicted.ravel()
    np.testing.assert_allclose(found["dice"], metrics.f1_score(*flat, average=None), rtol=1e-12)
    np.testing.assert_allclose(found["iou"], metrics.jaccard_score(*flat, average=None), rtol=1e-12)
    np.testing.assert_allclose(found["mean_dice"], metrics.f1_score(*flat, average="macro"))


def test_ignored_pixels_are_as_if_they_were_not_there(pair):
    truth, predicted = pair[0].copy(), pair[1]
    truth[:, 5:9] = overlap.IGNORE
    found = overlap.values(overlap.count(truth, predicted, num_classes=K))["dice"]
    kept = truth != overlap.IGNORE
    expected = metrics.f1_score(truth[kept], predicted[kept], average=None)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_dice_of_images_is_that_of_each_alone(pair):
    found = overlap.dice_of_images(overlap.count(*pair, num_classes=K))
    assert np.isnan(found[0, 3])
    for image in range(1, 6):
        flat = (each[image].ravel() for each in pair)
        np.testing.assert_allclose(found[image], metrics.f1_score(*flat, average=None))


def test_foreground_is_every_class_but_the_first():
    truth = np.array([[[0, 1, 1, 2]], [[0, 0, 0, 0]], [[0, 0, 0, 0]]])
    predicted = np.array([[[0, 1, 2, 2]], [[0, 0, 0, 0]], [[0, 0, 0, 1]]])
    found = overlap.foreground_dice(overlap.count(truth, predicted, num_classes=4))
    expected = metrics.f1_score(truth[0, 0], predicted[0, 0], labels=[1, 2], average="macro")
    np.testing.assert_allclose(found, [expected, np.nan, 0])


def test_a_weighting_is_the_images_that_often(pair):
    counts = overlap.count(*pair, num_classes=K)
    drawn = np.array([0, 2, 2, 5, 5, 5])
    weights = np.bincount(drawn, minlength=6)[None].astype(float)
    again = overlap.count(*(each[drawn] for each in pair), num_classes=K)
    for name, value in overlap.values(again).items():
        np.testing.assert_allclose(overlap.values(counts, weights)[name][0], value, rtol=1e-12)


def rectangles(*boxes, number=1):
    mask = np.zeros((40, 40), np.uint8)
    for top, left, height, width in boxes:
        mask[top : top + height, left : left + width] = number
    return mask


@pytest.mark.parametrize(
    ("predicted", "expected"),
    [
        (rectangles((2, 2, 10, 10), (20, 20, 10, 10)), (2, 0, 0)),
        (rectangles((2, 2, 10, 10)), (1, 0, 1)),
        (rectangles((2, 2, 10, 10), (20, 20, 10, 10), (35, 2, 3, 3)), (2, 1, 0)),
        # 10 x 10 against 10 x 10 moved by 3: 70 of 130 pixels in common; by 4: 60 of 140.
        (rectangles((2, 5, 10, 10), (20, 24, 10, 10)), (1, 1, 1)),
        # One object over two: partner of neither.
        (rectangles((2, 2, 28, 28)), (0, 1, 2)),
        (rectangles(), (0, 0, 2)),
    ],
)
def test_objects_agree_in_more_than_half_of_their_union(predicted, expected):
    truth = rectangles((2, 2, 10, 10), (20, 20, 10, 10))
    counts = overlap.count(truth[None], predicted[None], num_classes=2)
    assert tuple(counts.objects[0, 1]) == expected
    hits, extra, missed = expected
    f1 = overlap.values(counts)["object_f1"][1]
    assert f1 == pytest.approx(2 * hits / (2 * hits + extra + missed))


def test_pixels_that_touch_at_a_corner_are_one_object():
    mask = np.eye(10, dtype=np.uint8)[None]
    counts = overlap.count(mask, mask, num_classes=2)
    assert counts.objects[0, 1].tolist() == [1, 0, 0]


def test_worst_and_best_are_named_once():
    scores = np.array([0.5, np.nan, 0.1, 0.9, 0.7, 0.3])
    assert overlap.worst_and_best(scores, 2).tolist() == [2, 5, 4, 3]
    assert overlap.worst_and_best(scores, 9).tolist() == [2, 5, 0, 4, 3]
