import numpy as np
from PIL import Image

from histo_simclr import pictures


def _pixels(path):
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def test_confusion_matrix_is_dark_where_predictions_are(tmp_path):
    file = tmp_path / "confusion.png"
    shades = []
    for matrix in ([[9, 1], [0, 10]], [[1, 9], [10, 0]]):
        pictures.confusion_matrix(np.array(matrix), ["normal", "tumor"], file, title="pcam")
        red = _pixels(file)[..., 0].astype(float)
        height, width = red.shape
        top = red[: height // 2]
        shades.append((top[:, : width // 2].mean(), top[:, width // 2 :].mean()))
    # Truth "normal" is the upper row: dark on the left when right, on the right when wrong.
    assert shades[0][0] < shades[1][0]
    assert shades[0][1] > shades[1][1]


def test_equal_input_gives_equal_bytes_and_leaves_nothing_else(tmp_path):
    for name in ("a.png", "b.png"):
        steps = np.arange(5)
        curves = {"loss": 5.0 - steps, "top-1": steps / 5, "alignment": np.full(5, np.nan)}
        pictures.training_curves(steps, curves, tmp_path / name, chance={"loss": 4.8})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "b.png"]
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_chance_level_is_drawn(tmp_path):
    steps, drawn = np.arange(5), []
    for chance in ({}, {"loss": 3.0}):
        pictures.training_curves(steps, {"loss": 5.0 - steps}, tmp_path / "x.png", chance=chance)
        drawn.append(_pixels(tmp_path / "x.png"))
    assert (drawn[0] != drawn[1]).any()


def test_what_was_measured_once_is_seen_as_a_point(tmp_path):
    steps, drawn = np.arange(3), []
    for value in (np.nan, 0.5):
        curves = {"online_knn": np.array([np.nan, value, np.nan])}
        path = tmp_path / "x.png"
        pictures.training_curves(steps, curves, path, chance={}, untrained={"online_knn": 0.4})
        drawn.append(_pixels(path).astype(int))
    blue = (drawn[1][..., 2] - drawn[1][..., 0] > 80).sum()
    assert blue > 4 > (drawn[0][..., 2] - drawn[0][..., 0] > 80).sum()


def test_views_stand_beside_their_patch_pixel_for_pixel(tmp_path):
    rng = np.random.default_rng(0)
    patches = rng.integers(0, 256, (2, 12, 12, 3), dtype=np.uint8)
    views = [rng.random((2, 8, 8, 3)) for _ in range(2)]
    pictures.views_grid(patches, views, tmp_path / "views.png")
    sheet = _pixels(tmp_path / "views.png")
    assert sheet.shape == (28, 36, 3)
    np.testing.assert_array_equal(sheet[16:28, :12], patches[1])
    np.testing.assert_allclose(sheet[16:24, 28:36], views[1][1] * 255, atol=0.51)
    assert (sheet[12:16] == 255).all()


def test_bars_are_long_where_counts_are_large(tmp_path):
    pictures.counts({"organ": {"colon": 10, "": 1}}, tmp_path / "x.png")
    pixels = _pixels(tmp_path / "x.png").astype(int)
    is_bar = np.abs(pixels - [148, 103, 189]).sum(-1) < 12  # matplotlib's tab:purple
    half = len(is_bar) // 2
    assert is_bar[:half].sum() > 5 * is_bar[half:].sum() > 0


def test_beyond_thirty_names_the_rest_are_summed():
    shown = pictures._largest({str(i): i for i in range(40)}, 30)
    assert list(shown)[:2] == ["39", "38"]
    assert shown["10 others"] == sum(range(10))


def test_masks_are_drawn_over_their_own_image_and_column(tmp_path):
    """Only the prediction of the second image has a class: only there is color."""
    images = np.full((2, 40, 40, 3), 128, np.uint8)
    truth, predicted = np.zeros((2, 2, 40, 40), np.uint8)
    predicted[1, 10:30, 10:30] = 1
    masks = {"truth": truth, "prediction": predicted}
    file = tmp_path / "masks.png"
    pictures.segmentations(images, masks, ["one", "two"], ["rest", "gland"], file)
    drawn = _pixels(file).astype(int)
    # Less of the bottom, where the legend is.
    y, x = np.nonzero(np.ptp(drawn[: int(0.93 * len(drawn))], axis=2) > 60)
    height, width = drawn.shape[:2]
    assert len(y) > 100
    assert y.min() > 0.5 * height
    assert x.min() > 0.66 * width


def test_a_level_and_a_curve_are_drawn_where_they_are(tmp_path):
    """The black line of the mean rises with its values; a level of another encoder is added."""
    heights = []
    for last in (0.6, 0.9):
        points = [(10, 0.5, 0.4, 0.6, 0.01), (1000, last, last - 0.1, last + 0.1, 0.01)]
        lines = {"pcam": [(10, 0.2, 0.2, 0.2, 0.0), (1000, 1.0, 1.0, 1.0, 0.0)], "mean": points}
        pictures.against_variable(
            {"linear": lines},
            tmp_path / "x.png",
            variable="images",
            measure="macro-F1",
            title="images",
            bold="mean",
        )
        pixels = _pixels(tmp_path / "x.png").astype(int)
        inside = pixels[60:360, 330:520]  # right half of the panel, without frame and legend
        rows = np.flatnonzero((inside.max(-1) < 60).any(1))
        heights.append(rows.min())
    assert heights[1] < heights[0]


def test_words_and_unknown_intervals_are_drawn_too(tmp_path):
    nan = float("nan")
    lines = {
        "mean": [("breast", 0.5, nan, nan, nan), ("mix", 0.6, nan, nan, nan)],
        "random init": [(None, 0.4, 0.3, 0.5, nan)],
    }
    drawn = []
    for given in (lines, {"mean": lines["mean"]}):
        pictures.against_variable(
            {"linear": given},
            tmp_path / "x.png",
            variable="organ",
            measure="macro-F1",
            title="organs",
            bold="mean",
        )
        drawn.append(_pixels(tmp_path / "x.png"))
    assert drawn[0].shape == drawn[1].shape
    assert (drawn[0] != drawn[1]).any()
