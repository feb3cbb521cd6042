import json
import uuid

import numpy as np
import pytest
import shapely

from histo_simclr.maps import qupath

COORDS = np.array([(0, 0), (512, 0), (512, 1024)])


def make(**changes):
    about = {
        "names": ["cluster 1", "cluster 2", "cluster 1"],
        "colors": [(0, 114, 178), (230, 159, 0), (0, 114, 178)],
        "measurements": {"cluster": np.array([1, 2, 1]), "probability: Ätz": [0.25, 1 / 3, 1]},
    }
    return qupath.collection("slide <1>", COORDS, 512.0, **(about | changes))


@pytest.fixture
def read():
    return json.loads(make())


def test_each_patch_is_a_closed_square_in_level_0_pixels(read):
    assert read["type"] == "FeatureCollection"
    shapes = [shapely.geometry.shape(each["geometry"]) for each in read["features"]]
    assert [each.bounds for each in shapes] == [
        (x, y, x + 512, y + 512) for x, y in COORDS.tolist()
    ]
    assert all(each.is_valid and each.area == 512**2 for each in shapes)
    for each in read["features"]:
        (ring,) = each["geometry"]["coordinates"]
        assert ring[0] == ring[-1]


def test_properties_are_those_that_qupath_reads(read):
    """Names and types of QuPath's GeoJSON documentation (objectType tile, measurements a map)."""
    for each in read["features"]:
        assert each["type"] == "Feature"
        assert str(uuid.UUID(each["id"])) == each["id"]
        about = each["properties"]
        assert about["objectType"] == "tile"
        assert about["classification"]["name"].startswith("cluster ")
        assert all(type(value) is int for value in about["classification"]["color"])
        assert about["measurements"].keys() == {"cluster", "probability: Ätz"}
    assert read["features"][1]["properties"]["measurements"]["probability: Ätz"] == 0.333333


def test_ids_are_of_the_place_and_never_twice(read):
    ids = [each["id"] for each in read["features"]]
    assert len(set(ids)) == 3
    again = json.loads(make(measurements={}))
    assert [each["id"] for each in again["features"]] == ids
    other = json.loads(
        qupath.collection(
            "slide 2", COORDS[:1], 512.0, names=["a"], colors=[(0, 0, 0)], measurements={}
        )
    )
    assert other["features"][0]["id"] not in ids


def test_a_slide_without_patches_is_an_empty_collection():
    text = qupath.collection("a", COORDS[:0], 0.0, names=[], colors=[], measurements={})
    assert json.loads(text) == {"type": "FeatureCollection", "features": []}


def test_its_tiles_are_no_regions_of_tissue_when_it_lies_beside_a_slide(tmp_path):
    from histo_simclr.slides import regions
    from histo_simclr.slides.pyramid import SlideError

    (tmp_path / "a.geojson").write_text(make(), encoding="utf-8")
    with pytest.raises(SlideError):
        regions.read(tmp_path / "a.geojson", (2000, 2000), (20, 20))
