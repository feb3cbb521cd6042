import json

import numpy as np
import pytest
from PIL import Image
from sklearn.neighbors import NearestNeighbors

from histo_simclr.errors import InputError
from histo_simclr.looks import look as looks

OPTIONS = {
    "queries": 4,
    "near": 3,
    "perplexity": 5.0,
    "cluster_count": 3,
    "typical": 4,
    "folds": 3,
    "strength": 0.1,
    "resamples": 50,
    "places": 8,
    "batch_size": 4,
    "seed": 0,
}
SLIDES, PATCHES, WIDTH = 8, 6, 8


@pytest.fixture
def make(make_sample):
    """make(lab) -> features and sample; two cohorts of the same classes, `lab` apart."""

    def made(lab):
        rng = np.random.default_rng(2)
        slide = np.repeat(np.arange(SLIDES), PATCHES)
        kind = np.arange(len(slide)) % 2
        features = rng.normal(size=(len(slide), WIDTH))
        features += 2 * rng.normal(size=(2, WIDTH))[kind]
        features += lab * rng.normal(size=(2, WIDTH))[slide % 2]
        task = np.array(["aachen", "boston"])[slide % 2]
        label = np.array(["tumor", "stroma"])[kind]
        split = np.where(slide < 4, "train", "test")
        return features.astype(np.float32), make_sample(task, label, slide.astype(str), split=split)

    return made


def _mean_color(patches):
    return patches.mean((1, 2))


@pytest.fixture
def found(make, tmp_path):
    out = tmp_path / "looks" / "ours"
    return looks.look("ours", *make(lab=3.0), out=out, encode=_mean_color, **OPTIONS)


def test_pictures_lie_where_the_json_says(found, tmp_path):
    files = [picture["file"] for picture in found["pictures"]]
    assert files == [
        f"looks/ours/{name}.png" for name in ("neighbors", "projection", "clusters", "drift")
    ]
    for file in files:
        with Image.open(tmp_path / file) as picture:
            assert picture.format == "PNG"
            assert min(picture.size) > 200
            assert max(picture.size) < 3000
            assert len(np.unique(np.asarray(picture.convert("L")))) > 20
    assert len(list((tmp_path / "looks/ours").iterdir())) == len(files)


def test_the_result_is_strict_json_with_rows_as_wide_as_their_columns(found):
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    for table in found["tables"]:
        assert {len(row) for row in table["rows"]} <= {len(table["columns"])}


def test_a_planted_batch_effect_is_in_the_numbers_and_none_is_not(found, make, tmp_path):
    (planted,) = found["robustness"]["effects"]
    assert planted["nuisance"]["low"] > 0.9
    assert planted["robustness_index"] < 0.4
    nothing = looks.look("none", *make(lab=0.0), out=tmp_path / "none", encode=None, **OPTIONS)
    (none,) = nothing["robustness"]["effects"]
    assert none["nuisance"]["balanced_accuracy"] < 0.65
    assert none["robustness_index"] > 0.8


def test_without_an_encoder_drift_is_left_out_with_a_line(make, tmp_path):
    found = looks.look("ours", *make(lab=0.0), out=tmp_path, encode=None, **OPTIONS)
    assert not any(picture["file"].endswith("drift.png") for picture in found["pictures"])
    assert found["tables"][-1]["note"].startswith("Left out:")


def test_projection_is_the_same_each_time_and_keeps_neighbors():
    rng = np.random.default_rng(0)
    blob = np.repeat(np.arange(4), 25)
    features = (6 * np.eye(8)[blob] + rng.normal(size=(100, 8))).astype(np.float32)
    features *= rng.uniform(0.5, 2, size=(100, 1)).astype(np.float32)  # length is no matter
    points = looks.project(features, perplexity=10.0, seed=0)
    np.testing.assert_array_equal(points, looks.project(features, perplexity=10.0, seed=0))
    near = NearestNeighbors(n_neighbors=2).fit(points).kneighbors(return_distance=False)
    assert np.mean(blob[near] == blob[:, None]) > 0.95


def test_few_patches_lower_the_perplexity():
    """scikit-learn refuses one as large as their number."""
    features = np.random.default_rng(0).normal(size=(12, 4)).astype(np.float32)
    points = looks.project(features, perplexity=30.0, seed=0)
    np.testing.assert_array_equal(points, looks.project(features, perplexity=11 / 3, seed=0))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda features: features[:-1], "47 features for 48 patches"),
        (lambda features: np.where(np.arange(48)[:, None] == 7, np.nan, features), "NaN"),
    ],
)
def test_features_that_do_not_fit_are_refused(make, tmp_path, spoil, said):
    features, sample = make(lab=0.0)
    with pytest.raises(InputError, match=said):
        looks.look("ours", spoil(features), sample, out=tmp_path, encode=None, **OPTIONS)
