import h5py
import numpy as np
import pytest

from histo_simclr.errors import InputError
from histo_simclr.maps import feature_files


@pytest.fixture
def features():
    return np.random.default_rng(0).normal(size=(6, 5)).astype(np.float32)


def test_tridents_file_says_everything(tmp_path, trident, grid, features):
    more = {"level0_width": 2000, "level0_height": 1000, "mpp_level0_x": 0.25}
    file = trident(tmp_path, "TCGA-01.a.b", features, grid(3, 2), side=512, **more)
    found = feature_files.read(file)
    assert found.slide == "TCGA-01.a.b"
    np.testing.assert_array_equal(found.features, features)
    assert found.coords.tolist() == [list(each) for each in grid(3, 2)]
    assert (found.side, found.size, found.mpp) == (512, (2000, 1000), 0.25)
    assert (found.encoder, found.model, found.tissue) == ("resnet18", "", None)


def test_what_a_file_calls_none_is_not_known(tmp_path, trident, grid, features):
    file = trident(tmp_path, "a", features, grid(3, 2), level0_width="None", mpp_level0_x="None")
    found = feature_files.read(file)
    assert (found.size, found.mpp) == ((0, 0), 0.0)


def test_clams_side_is_that_of_its_file_of_coordinates(tmp_path, clam, grid, features):
    file = clam(tmp_path / "features" / "h5_files", "a", features, grid(3, 2))
    (tmp_path / "patches").mkdir()
    with h5py.File(tmp_path / "patches" / "a.h5", "w") as other:
        other["coords"] = grid(3, 2)
        downsample = np.array([4.0, 4.0])
        other["coords"].attrs.update(patch_size=256, patch_level=1, downsample=downsample)
    assert feature_files.read(file).side == 1024


def test_without_it_the_side_is_the_usual_step(tmp_path, clam):
    # One row has a hole, and the two are not aligned.
    coords = [(0, 0), (300, 0), (900, 0), (1200, 0), (150, 300), (450, 300)]
    file = clam(tmp_path, "a", np.ones((6, 5)), coords)
    assert feature_files.read(file).side == 300


def test_a_single_patch_of_unknown_side_is_refused(tmp_path, clam):
    file = clam(tmp_path, "a", np.ones((1, 5)), [(7, 9)])
    with pytest.raises(InputError, match="the side of its patches is not known"):
        feature_files.read(file)


def test_a_slide_without_patches_is_no_error(tmp_path, clam):
    found = feature_files.read(clam(tmp_path, "a", np.ones((0, 5)), np.ones((0, 2))))
    assert found.features.shape == (0, 5)


def test_half_precision_becomes_single(tmp_path, grid, features):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["features"], file["coords"] = features.astype(np.float16), grid(3, 2)
    found = feature_files.read(tmp_path / "a.h5").features
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, features.astype(np.float16))


def test_tridents_tree_is_searched_for_features_of_patches(tmp_path, trident, clam, grid, features):
    job = tmp_path / "20x_256px_0px_overlap"
    files = [trident(job / "features_r18", name, features, grid(3, 2)) for name in "ba"]
    for place, name in (("patches", "a_patches"), ("slide_features_mean", "a")):
        (job / place).mkdir()
        with h5py.File(job / place / f"{name}.h5", "w") as file:
            file["coords"] = grid(3, 2)
            if "slide" in place:
                file["features"] = features[0]
    (job / "features_r18" / "c.h5.tmp").write_bytes(b"half")
    assert feature_files.find(tmp_path) == sorted(files)
    assert feature_files.find(files[0]) == files[:1]


def test_features_of_two_encoders_are_to_be_chosen_between(tmp_path, trident, grid, features):
    for name in ("features_a", "features_b"):
        trident(tmp_path / name, "s", features, grid(3, 2))
    with pytest.raises(InputError, match="features in 2 folders: features_a, features_b"):
        feature_files.find(tmp_path)


@pytest.mark.parametrize("what", ["missing", "empty", "coordinates"])
def test_a_folder_without_features_is_one_clear_line(tmp_path, what):
    place = tmp_path / "here"
    if what != "missing":
        place.mkdir()
    if what == "coordinates":
        with h5py.File(place / "a.h5", "w") as file:
            file["coords"] = [(0, 0)]
    said = {"missing": "no such folder", "empty": "no H5 file", "coordinates": "1 H5 files, none"}
    with pytest.raises(InputError, match=said[what]):
        feature_files.find(place)


@pytest.mark.parametrize("keep", [0, 100, 0.5])
def test_a_torn_file_is_named(tmp_path, trident, grid, features, keep):
    file = trident(tmp_path, "torn", features, grid(3, 2))
    content = file.read_bytes()
    file.write_bytes(content[: int(keep * len(content)) if keep < 1 else keep])
    with pytest.raises(InputError, match=r"torn\.h5: cannot be read") as caught:
        feature_files.find(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda file: file["features"].__setitem__((2, 3), np.nan), "1 patches have features with"),
        (lambda file: file["coords"].resize((5, 2)), "do not go with coordinates"),
    ],
)
def test_arrays_that_cannot_be_used_are_named(tmp_path, trident, grid, features, spoil, said):
    path = trident(tmp_path, "a", features, grid(3, 2))
    with h5py.File(path, "r+") as file:
        spoil(file)
    with pytest.raises(InputError, match=said):
        feature_files.read(path)


def test_coordinates_in_micrometers_are_refused(tmp_path, features):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["features"], file["coords"] = features, np.full((6, 2), 0.5)
    with pytest.raises(InputError, match="not whole level-0 px"):
        feature_files.read(tmp_path / "a.h5")


@pytest.mark.parametrize("tissue", [[0.5, np.nan], [[0.5, 1], [1, 1]], [b"a", b"b"], [0.5]])
def test_shares_of_tissue_that_are_none_are_left_out(tmp_path, trident, tissue):
    file = trident(tmp_path, "a", np.ones((2, 3)), [(0, 0), (64, 0)])
    with h5py.File(file, "a") as opened:
        opened["tissue_fraction"] = np.array(tissue)
    assert feature_files.read(file).tissue is None


def test_features_that_are_no_numbers_are_one_line(tmp_path, trident):
    file = trident(tmp_path, "a", np.ones((2, 3)), [(0, 0), (64, 0)])
    with h5py.File(file, "a") as opened:
        del opened["features"]
        opened["features"] = np.ones((2, 3), np.complex64)
    with pytest.raises(InputError, match=r"a\.h5: .*complex64"):
        feature_files.read(file)
