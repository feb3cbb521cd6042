import json

import numpy as np
import pytest
from PIL import Image

from histo_simclr.slides import regions
from histo_simclr.slides.pyramid import SlideError

SIZE = (400, 300)  # level-0 px
SHAPE = (150, 200)  # of the mask: half


def feature(*rings, kind="Polygon", name=None, **properties):
    closed = [[*ring, ring[0]] for ring in rings]
    coordinates = closed if kind == "Polygon" else [[ring] for ring in closed]
    if name is not None:
        properties["classification"] = {"name": name, "color": [1, 2, 3]}
    return {
        "type": "Feature",
        "geometry": {"type": kind, "coordinates": coordinates},
        "properties": {"objectType": "annotation", **properties},
    }


def square(x, y, side):
    return [[x, y], [x + side, y], [x + side, y + side], [x, y + side]]


def write(path, data):
    path.write_text(json.dumps(data))
    return path


def read(path):
    return regions.read(path, SIZE, SHAPE)


def expected(*squares):
    """Mask of (x, y, side, value) in level-0 px, painted in their order."""
    mask = np.zeros(SHAPE, bool)
    for x, y, side, value in squares:
        mask[y // 2 : (y + side) // 2, x // 2 : (x + side) // 2] = value
    return mask


@pytest.mark.parametrize("wrap", ["collection", "list", "single"])
def test_polygons_with_holes_and_islands(tmp_path, wrap):
    region = feature(square(20, 20, 200), square(60, 60, 100), name="Tissue")
    features = [region, feature(square(90, 90, 40), kind="MultiPolygon")]
    data = {"collection": {"type": "FeatureCollection", "crs": None, "features": features}}
    data |= {"list": features, "single": region}
    found = read(write(tmp_path / "s.geojson", data[wrap]))
    wanted = [(20, 20, 200, True), (60, 60, 100, False), (90, 90, 40, wrap != "single")]
    np.testing.assert_array_equal(found.mask, expected(*wanted))
    assert found.warning == ""


def test_polygon_is_scikit_images(tmp_path):
    from skimage.draw import polygon2mask

    corners = [[33.3, 41.7], [350.1, 60.6], [200.9, 130.3], [310.7, 280.1], [70.3, 250.9]]
    found = read(write(tmp_path / "s.geojson", feature(corners)))
    wanted = polygon2mask(SHAPE, np.array(corners)[:, ::-1] / 2 - 0.5)  # centers at whole numbers
    np.testing.assert_array_equal(found.mask, wanted)


@pytest.mark.parametrize("name", ["Artefact", "artifact: fold", "Ignore*"])
def test_artefacts_are_taken_away(tmp_path, name):
    data = [feature(square(60, 60, 100), name=name), feature(square(20, 20, 200))]
    found = read(write(tmp_path / "s.geojson", data))
    np.testing.assert_array_equal(found.mask, expected((20, 20, 200, True), (60, 60, 100, False)))


def test_tiles_cells_and_points_are_no_regions(tmp_path):
    point = {"type": "Feature", "geometry": {"type": "Point", "coordinates": [1, 2]}}
    data = [feature(square(20, 20, 100)), feature(square(0, 0, 300), objectType="tile"), point]
    found = read(write(tmp_path / "s.geojson", data))
    np.testing.assert_array_equal(found.mask, expected((20, 20, 100, True)))


def test_polygon_that_crosses_itself_is_filled_by_even_odd_and_said(tmp_path):
    # A bow tie: two triangles that meet in the middle.
    bow_tie = [[20, 20], [220, 220], [220, 20], [20, 220]]
    found = read(write(tmp_path / "s.geojson", feature(bow_tie)))
    assert found.warning.startswith("1 polygons of s.geojson cross themselves")
    assert found.mask.sum() == pytest.approx(100 * 100 / 2, rel=0.03)
    assert found.mask[60, 20]
    assert not found.mask[20, 60]


def test_mask_image_of_any_size_covers_the_slide(tmp_path):
    small = np.zeros((30, 40), np.uint8)
    small[5:20, 10:30] = 1  # a label, not 255
    for name, image in {
        "gray.png": Image.fromarray(small),
        "palette.png": Image.fromarray(small).convert("P"),
        "color.tif": Image.fromarray(np.stack([small, 0 * small, 0 * small], axis=2)),
        "alpha.png": Image.fromarray(np.stack([small, small, small, 0 * small + 255], axis=2)),
        "deep.png": Image.fromarray(small.astype(np.uint16) * 700),
    }.items():
        image.save(tmp_path / name)
        found = read(tmp_path / name)
        np.testing.assert_array_equal(found.mask, np.kron(small, np.ones((5, 5))) > 0, name)


def test_mask_of_other_shape_is_refused(tmp_path):
    Image.fromarray(np.ones((300, 300), np.uint8)).save(tmp_path / "s.png")
    with pytest.raises(SlideError, match="s.png is 300 × 300 px, of another shape.*400 × 300"):
        read(tmp_path / "s.png")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no JSON"),
        ("[" * 100_000, "no JSON"),
        ("3", "no GeoJSON"),
        ("[1, 2]", "no GeoJSON"),
        ("{}", "no polygon"),
        (json.dumps(feature([[0, 0], [1, 1]])), "feature 0 is no polygon"),
        (json.dumps(feature([[0, "a"], [1, 1], [2, 2]])), "feature 0 is no polygon"),
        (json.dumps(feature(square(5000, 5000, 10))), "lies outside the slide"),
        (json.dumps(feature(square(0, 0, float("inf")))), "feature 0 is no polygon"),
        (json.dumps(feature(square(0, 0, 9e307))), "feature 0 has coordinates that are no px"),
        (
            # GEOS cannot put this one right.
            '{"geometry": {"type": "Polygon", "coordinates": [[[0, 0], [0, 1], [1, 0], [0, 0]], '
            "[[0, 8.98846567431158e307], [12, 2], [0, 8.98846567431158e307]]]}}",
            "feature 0 has coordinates that are no px",
        ),
        ('{"geometry": {"type": "Polygon"}}', "feature 0 is no polygon"),
        ('{"geometry": {"type": "Polygon", "coordinates": []}}', "feature 0 is no polygon"),
        (json.dumps(feature(square(0, 0, 9), name="Artefact")), "has no polygon"),
    ],
)
def test_geojson_that_is_no_region_is_refused(tmp_path, text, says):
    (tmp_path / "s.geojson").write_text(text)
    with pytest.raises(SlideError, match=says):
        read(tmp_path / "s.geojson")


@pytest.mark.parametrize("kind", ["JPEG", "EPS"])
def test_mask_of_another_kind_than_its_name_is_refused(tmp_path, kind):
    """JPEG has no exact 0; to read EPS, Pillow would start a program."""
    image = Image.new("RGB", (40, 30), (255, 255, 255))
    with open(tmp_path / "s.png", "wb") as file:
        image.save(file, kind)
    with pytest.raises(SlideError, match="mask s.png does not decode .cannot identify image file"):
        read(tmp_path / "s.png")


def test_region_file_goes_by_the_slides_id(tmp_path):
    assert regions.find_file(tmp_path, "a.b") is None
    for name in ("a.b.png", "a.b.geojson", "a.png"):
        (tmp_path / name).touch()
    assert regions.find_file(tmp_path, "a.b") == tmp_path / "a.b.geojson"


@pytest.mark.parametrize("kind", ["Polygon", "MultiPolygon"])
def test_a_bare_geometry_is_a_region(tmp_path, kind):
    ring = [[10, 10], [30, 10], [30, 30], [10, 30], [10, 10]]
    coordinates = [ring] if kind == "Polygon" else [[ring]]
    path = tmp_path / "s.geojson"
    path.write_text(json.dumps({"type": kind, "coordinates": coordinates}))
    assert regions.read(path, (100, 100), (100, 100)).mask.sum() == 400
