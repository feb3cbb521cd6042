"""Files as TRIDENT 0.3.1, Patho-Bench and CLAM write and read them (read in their sources)."""

import pickletools
import shutil
import zipfile

import h5py
import numpy as np
import pytest

from histo_simclr.embed import layouts

# trident/IO.py, coords_to_h5.
NINE = ("patch_size", "patch_size_level0", "level0_magnification", "target_magnification")
NINE += ("overlap", "name", "savetodir", "level0_width", "level0_height")
OURS = ("mpp_level0_x", "mpp_level0_y", "mpp_target", "settings")
ABOUT_US = ("model_sha256", "mean", "std", "input_size", "interpolation", "histo_simclr_version")


@pytest.fixture
def slides(tmp_path, cmu):
    (tmp_path / "in").mkdir()
    shutil.copy(cmu, tmp_path / "in/a.b.svs")
    return tmp_path / "in"


def read_h5_as_trident(path):
    """trident/IO.py, read_coords, and the check of trident/wsi_objects/WSI.py for its own files."""
    with h5py.File(path, "r") as file:
        attributes, coords = dict(file["coords"].attrs), file["coords"][:]
    known = ("patch_size", "level0_magnification", "target_magnification")
    assert all(attributes.get(name) is not None for name in known)
    return attributes, coords


def test_trident_finds_its_files_names_types_and_attributes(embed, slides, tmp_path, encoder):
    from histo_simclr import load_encoder

    assert embed()[0] == 0
    folder = tmp_path / "out/10x_48px_0px_overlap"
    attributes, coords = read_h5_as_trident(folder / "patches/a.b_patches.h5")
    assert coords.dtype == np.int64
    assert {*attributes} == {*NINE, *OURS}
    expected = {"patch_size": 48, "patch_size_level0": 96, "level0_magnification": 20}
    expected |= {"target_magnification": 10, "overlap": 0, "name": "a.b", "savetodir": ""}
    expected |= {"level0_width": 2220, "level0_height": 2967, "mpp_target": 1.0}
    expected |= {"mpp_level0_x": 0.499, "mpp_level0_y": 0.499}
    assert {name: attributes[name] for name in expected} == expected
    with h5py.File(folder / "features_histo_simclr_small/a.b.h5", "r") as file:
        features = file["features"]
        assert (features.dtype, file["coords"].dtype) == (np.float32, np.int64)
        assert features.maxshape == (None, 128)
        assert features.shape == (len(coords), 128)
        np.testing.assert_array_equal(file["coords"][:], coords)
        # Patho-Bench: file['coords'].attrs['patch_size_level0'].
        assert {*file["coords"].attrs} == {*NINE, *OURS}
        assert file["coords"].attrs["patch_size_level0"] == 96
        assert {*features.attrs} == {"name", "savetodir", "encoder", *ABOUT_US}
        assert features.attrs["encoder"] == "histo_simclr_small"
        assert features.attrs["model_sha256"] == load_encoder(encoder).sha256
        np.testing.assert_array_equal(features.attrs["mean"], (0.6, 0.4, 0.65))
        np.testing.assert_array_equal(features.attrs["std"], (0.2, 0.2, 0.2))
        tissue = file["tissue_fraction"][:]
        assert tissue.dtype == np.float32
        assert 0.5 <= tissue.min() <= tissue.max() <= 1
    assert (folder / "visualization/a.b.jpg").read_bytes()[:2] == b"\xff\xd8"


def test_clam_finds_its_files_names_types_and_attributes(embed, slides, tmp_path):
    assert embed("--layout", "clam")[0] == 0
    with h5py.File(tmp_path / "out/patches/a.b.h5", "r") as file:
        attributes, coords = dict(file["coords"].attrs), file["coords"][:]
    assert coords.dtype == np.int64
    clams = ("patch_size", "patch_level", "downsample", "downsampled_level_dim", "level_dim")
    assert {*attributes} == {*clams, "name", "save_path", *OURS}
    # Read at level 0, 0.499 µm/px, and resampled to 48 px of 1 µm.
    assert (attributes["patch_size"], attributes["patch_level"]) == (96, 0)
    assert attributes["downsample"].tolist() == [1.0, 1.0]
    assert attributes["level_dim"].tolist() == [2220, 2967]
    with h5py.File(tmp_path / "out/h5_files/a.b.h5", "r") as file:
        features = file["features"][:]
        assert (features.dtype, file["coords"].dtype) == (np.float32, np.int32)
        np.testing.assert_array_equal(file["coords"][:], coords)
        # CLAM's own has no attributes; those there are must not be its readers' (patch_level).
        assert not {*file["coords"].attrs} & {*clams}
    # A tensor that torch.load(weights_only=True) takes: bytes and shape, without torch.
    with zipfile.ZipFile(tmp_path / "out/pt_files/a.b.pt") as archive:
        names = {name.partition("/")[2]: name for name in archive.namelist()}
        assert archive.read(names["data/0"]) == features.tobytes()
        opcodes = list(pickletools.genops(archive.read(names["data.pkl"])))
    numbers = [argument for _, argument, _ in opcodes if isinstance(argument, int)]
    assert {features.shape[0], features.shape[1], features.size} <= {*numbers}


def test_torch_loads_the_tensors(embed, slides, tmp_path):
    torch = pytest.importorskip("torch")
    assert embed("--layout", "clam", "--dtype", "float16")[0] == 0
    tensor = torch.load(tmp_path / "out/pt_files/a.b.pt", weights_only=True)
    with h5py.File(tmp_path / "out/h5_files/a.b.h5", "r") as file:
        np.testing.assert_array_equal(tensor.numpy(), file["features"][:].astype(np.float32))
    assert tensor.dtype == torch.float32


def test_no_place_of_this_machine_is_in_any_file(embed, slides, tmp_path):
    for layout in layouts.LAYOUTS:
        assert embed("--layout", layout, out=layout)[0] == 0
        files = [path for path in (tmp_path / layout).rglob("*") if path.is_file()]
        assert len(files) >= 4
        for path in files:
            assert str(tmp_path).encode() not in path.read_bytes(), path


@pytest.mark.parametrize(
    ("mpp", "said"), [(0.25, "40"), (0.5, "20"), (1.0, "10"), (4.0, "2.5"), (0.46, "21.7391")]
)
def test_magnifications_are_written_as_trident_writes_them(mpp, said):
    assert str(layouts.magnification(mpp)) == said


def test_slides_of_odd_names_stay_in_their_folder():
    names = ("../up", "a/b", "a%2Fb", "x" * 20, "TCGA-AA-0001-01Z-00-DX1.9f")
    found = [layouts.file_name(name) for name in names]
    assert len({*found}) == len(names)
    assert not any("/" in name for name in found)
    assert found[3:] == list(names[3:])
    common = ["A (1)", "S12-345 & b", "Größe", "x+y,z#1"]
    assert [layouts.file_name(name) for name in common] == common
