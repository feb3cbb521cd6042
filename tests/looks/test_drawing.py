import numpy as np
import pytest
from PIL import Image

from histo_simclr.looks import drawing

GREEN, ORANGE, GRAY = (0, 158, 115), (213, 94, 0), (119, 119, 119)


def _pixels(path):
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        return np.asarray(picture.convert("RGB")).astype(int)


def _share(pixels, color):
    return np.mean(np.abs(pixels - color).sum(-1) < 12)


@pytest.mark.parametrize(("verdict", "color"), [("same", GREEN), ("other", ORANGE), ("", GRAY)])
def test_borders_say_whether_the_class_is_the_same(tmp_path, verdict, color):
    images = np.full((1, 2, 8, 8, 3), 230, np.uint8)
    file = tmp_path / "x.png"
    drawing.neighbor_panels(images, [["pcam\ntumor"] * 2], np.array([[verdict]]), file)
    drawn = _pixels(file)
    half = drawn.shape[1] // 2
    for other in (GREEN, ORANGE, GRAY):
        assert (_share(drawn[:, half:], other) > 0.01) == (other == color)
        assert _share(drawn[:, :half], other) < 0.001


def test_the_verdict_is_also_a_mark(tmp_path, monkeypatch):
    """Without its color, too, a right neighbor looks different from a wrong one."""
    verdicts = {name: ("#000000", mark) for name, (_, mark) in drawing._VERDICTS.items()}
    monkeypatch.setattr(drawing, "_VERDICTS", verdicts)
    images, drawn = np.full((1, 2, 8, 8, 3), 230, np.uint8), []
    for verdict in ("same", "other"):
        file = tmp_path / f"{verdict}.png"
        drawing.neighbor_panels(images, [["pcam"] * 2], np.array([[verdict]]), file)
        drawn.append(_pixels(file))
    assert (drawn[0] != drawn[1]).any()


def test_a_missing_neighbor_leaves_its_place_white(tmp_path):
    images = np.zeros((1, 3, 8, 8, 3), np.uint8)
    file = tmp_path / "x.png"
    drawing.neighbor_panels(images, [["a", "b", ""]], np.array([["same", ""]]), file)
    drawn = _pixels(file)
    third = drawn.shape[1] // 3
    assert (drawn[:, -third + 10 :] == 255).all()
    assert (drawn[:, third + 10 : -third] < 10).any()


def test_patches_are_drawn_where_their_cluster_is(tmp_path):
    reds = [np.full((2, 8, 8, 3), (level, 0, 0), np.uint8) for level in (100, 200)]
    drawing.montage(reds, ["first", "second"], tmp_path / "x.png")
    drawn = _pixels(tmp_path / "x.png")
    half = len(drawn) // 2
    assert _share(drawn[:half], (100, 0, 0)) > 0.3
    assert _share(drawn[half:], (200, 0, 0)) > 0.3
    assert _share(drawn[half:], (100, 0, 0)) == 0


def test_points_have_the_color_of_their_label_and_unknown_ones_are_gray(tmp_path):
    points = np.random.default_rng(0).normal(size=(60, 2))
    known = np.array(["a", "b"])[np.arange(60) % 2]
    shares = []
    for labels in (known, np.full(60, "")):
        drawing.scatter_panels(points, {"cohort": labels}, tmp_path / "x.png")
        drawn = _pixels(tmp_path / "x.png")
        # Saturated or not: points are a little transparent.
        shares.append(np.mean(np.ptp(drawn, axis=2) > 60))
    assert shares[0] > 0.002
    assert shares[1] == 0


def test_labels_beyond_the_colors_differ_by_their_marks(tmp_path):
    """The ninth has the color of the first; exchanged, the picture would be the same."""
    places, drawn = np.stack([np.arange(9.0), np.arange(9.0)], axis=1), []
    for order in ([*range(9)], [8, *range(1, 8), 0]):
        labels = {"class": np.arange(9).astype(str)}
        drawing.scatter_panels(places[order], labels, tmp_path / "x.png")
        drawn.append(_pixels(tmp_path / "x.png"))
    changed = np.nonzero((drawn[0] != drawn[1]).any(-1))
    assert 0 < len(changed[0]) < 500


def test_curves_are_higher_where_drift_is_larger(tmp_path):
    steps, heights = np.array([1.0, 1.4, 2.0]), []
    for value in (0.1, 0.9):
        distances, none = {"a": np.array([0.0, value, value])}, {"a": np.zeros(3)}
        drawing.drift_curves(steps, distances, none, {"a": np.ones(3)}, tmp_path / "x.png")
        drawn = _pixels(tmp_path / "x.png")
        is_blue = np.abs(drawn - [0, 114, 178]).sum(-1) < 30
        right = is_blue[: int(0.8 * len(drawn)), drawn.shape[1] // 2 :]
        heights.append(np.nonzero(right)[0].min())
    assert heights[1] < heights[0] - 50


def test_equal_input_gives_equal_bytes_and_leaves_nothing_else(tmp_path):
    for name in ("a.png", "b.png"):
        drawing.montage([np.zeros((1, 8, 8, 3), np.uint8)], ["one"], tmp_path / name)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "b.png"]
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_a_picture_is_listed_by_its_place_in_the_suite(tmp_path):
    found = drawing.entry(tmp_path / "looks" / "ours", "drift.png", "Drift", "How far.")
    assert found == {"title": "Drift", "caption": "How far.", "file": "looks/ours/drift.png"}
