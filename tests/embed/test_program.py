"""`histo-simclr embed` as a user calls it; slides are read in spawned processes."""

import csv
import json
import shutil

import h5py
import numpy as np
import pyarrow.parquet
import pytest

import histo_simclr
from histo_simclr.slides import grid, reader, tissue

PX, MPP = 48, 1.0
FOLDER = "10x_48px_0px_overlap"
FEATURES = f"{FOLDER}/features_histo_simclr_small"


@pytest.fixture
def slides(tmp_path, cmu):
    """tmp_path/in with two copies of the real slide, one of them named as TCGA does."""
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("a.svs", "TCGA-AA-0001-01Z-00-DX1.9f.svs"):
        shutil.copy(cmu, folder / name)
    return folder


def table(folder, name="embed.csv"):
    with open(folder / name, encoding="utf-8") as file:
        return {row["wsi"]: row for row in csv.DictReader(file)}


def content(path):
    with h5py.File(path, "r") as file:
        return file["features"][:], file["coords"][:]


def files(folder):
    """Everything in a folder, with the time at which it was written."""
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in found}


def test_features_are_the_encoders_of_all_places_with_tissue(embed, slides, tmp_path, encoder):
    code, out, err = embed()
    assert (code, err) == (0, "")
    with reader.open_slide(slides / "a.svs") as slide:
        mask = tissue.find(slide.thumbnail(8.0, max_pixels=10**7), 8.0).mask
        laid = grid.lay(mask, slide.dimensions[0], slide.resolution, MPP, PX)
        places = [
            (column * laid.step[0], row * laid.step[1])
            for row, column in np.argwhere(laid.tissue >= 0.5)
        ]
        patches = np.stack([slide.read(x, y, mpp=MPP, px=PX) for x, y in places])
    expected = histo_simclr.load_encoder(encoder)(patches)
    for name in ("a", "TCGA-AA-0001-01Z-00-DX1.9f"):
        features, coords = content(tmp_path / f"out/{FEATURES}/{name}.h5")
        # In rows from the top, each from the left.
        np.testing.assert_array_equal(coords, places)
        np.testing.assert_allclose(features, expected, atol=1e-4 * np.abs(expected).max())
    assert f"{2 * len(places):,} patches; the encoder was busy" in out
    rows = table(tmp_path / "out")
    assert {row["status"] for row in rows.values()} == {"ok"}
    assert {int(row["patches"]) for row in rows.values()} == {len(places)}
    # What was read, at which scale: users of several scanners look for it.
    assert {(row["mpp_x"], row["level"]) for row in rows.values()} == {("0.499", "0")}


def test_results_do_not_depend_on_workers_and_batches(embed, slides, tmp_path):
    assert embed(out="one")[0] == 0
    assert embed("--batch-size", 24, out="two", workers=3)[0] == 0
    for name in ("a", "TCGA-AA-0001-01Z-00-DX1.9f"):
        one, two = (content(tmp_path / f"{out}/{FEATURES}/{name}.h5") for out in ("one", "two"))
        np.testing.assert_array_equal(one[1], two[1])
        np.testing.assert_allclose(one[0], two[0], atol=1e-5 * np.abs(one[0]).max())


def test_python_gets_what_the_command_prints(slides, tmp_path, encoder):
    options = {"workers": 1, "batch_size": 64}
    done = histo_simclr.embed_slides(slides / "a.svs", encoder, tmp_path / "out", **options)
    again = histo_simclr.embed_slides([slides / "a.svs"], encoder, tmp_path / "out", **options)
    assert done["slides"] == again["slides"] == {"ok": 1}
    features, _ = content(done["features"] / "a.h5")
    assert done["patches"] == len(features) == done["ends"][0]["patches"]
    assert (again["patches"], again["kept"]) == (0, 1)
    assert 0 < done["busy"] <= 1
    with pytest.raises(TypeError, match="bach_size"):
        histo_simclr.embed_slides(slides, encoder, tmp_path / "out", bach_size=3)


def test_overlapping_patches_share_so_many_px(embed, slides, tmp_path):
    assert embed("--overlap", 16)[0] == 0
    folder = tmp_path / "out/10x_48px_16px_overlap"
    _, coords = content(folder / "features_histo_simclr_small/a.h5")
    steps = np.diff(np.unique(coords[:, 0]))
    # 32 px of 1 µm in level-0 px of 0.499 µm, rounded up so that never more are shared.
    assert set(steps.tolist()) == {65}


def test_patches_of_another_side_are_encoded_as_they_are(embed, slides, tmp_path, encoder):
    """Resized to the side of the training they would have another µm/px."""
    assert embed("--px", 64)[0] == 0
    folder = tmp_path / "out/10x_64px_0px_overlap"
    features, coords = content(folder / "features_histo_simclr_small/a.h5")
    with reader.open_slide(slides / "a.svs") as slide:
        patch = slide.read(*coords[0].tolist(), mpp=MPP, px=64)
    resized = histo_simclr.load_encoder(encoder)(patch)
    assert np.abs(features[0] - resized).max() > 0.01 * np.abs(resized).max()


def test_half_precision_is_the_same_rounded(embed, slides, tmp_path):
    assert embed(out="full")[0] == 0
    assert embed("--dtype", "float16", out="half")[0] == 0
    full, half = (content(tmp_path / f"{out}/{FEATURES}/a.h5")[0] for out in ("full", "half"))
    assert half.dtype == np.float16
    np.testing.assert_array_equal(full.astype(np.float16), half)


def test_zarr_and_parquet_hold_the_same(embed, slides, tmp_path):
    zarr = pytest.importorskip("zarr")
    assert embed("--also", "zarr,parquet")[0] == 0
    features, coords = content(tmp_path / f"out/{FEATURES}/a.h5")
    group = zarr.open_group(tmp_path / f"out/{FEATURES}/a.zarr", mode="r")
    np.testing.assert_array_equal(group["features"][:], features)
    np.testing.assert_array_equal(group["coords"][:], coords)
    assert group["coords"].attrs["mpp_target"] == MPP
    rows = pyarrow.parquet.read_table(tmp_path / f"out/{FEATURES}/a.parquet")
    np.testing.assert_array_equal(np.stack(rows["features"].to_numpy()), features)
    np.testing.assert_array_equal(np.stack([rows["x"], rows["y"]], axis=1), coords)
    (tmp_path / f"out/{FEATURES}/a.parquet").unlink()
    shutil.rmtree(tmp_path / f"out/{FEATURES}/a.zarr")
    assert "2 ok; 2 of them by an earlier run" in embed("--also", "zarr,parquet")[1]
    assert (tmp_path / f"out/{FEATURES}/a.parquet").is_file()
    assert (tmp_path / f"out/{FEATURES}/a.zarr").is_dir()


def test_shares_make_up_the_whole(embed, slides, tmp_path, cmu):
    shutil.copy(cmu, slides / "c.svs")
    assert embed("--share", "1/2")[0] == 0
    assert sorted(table(tmp_path / "out", "embed.1of2.csv")) == [
        "TCGA-AA-0001-01Z-00-DX1.9f.svs",
        "c.svs",
    ]
    assert embed("--share", "2/2")[0] == 0
    assert list(table(tmp_path / "out", "embed.2of2.csv")) == ["a.svs"]
    before = files(tmp_path / f"out/{FEATURES}")
    assert "3 ok; 3 of them by an earlier run" in embed()[1]
    assert files(tmp_path / f"out/{FEATURES}") == before
    assert len(table(tmp_path / "out")) == 3
    assert not list((tmp_path / "out").glob("embed.*of*.csv"))


def test_a_task_of_a_slurm_array_takes_its_share(embed, slides, tmp_path, monkeypatch):
    for name, value in (("ID", 5), ("COUNT", 2), ("MIN", 4), ("MAX", 5)):
        monkeypatch.setenv(f"SLURM_ARRAY_TASK_{name}", str(value))
    assert embed()[0] == 0
    assert list(table(tmp_path / "out", "embed.2of2.csv")) == ["a.svs"]


def test_regions_say_where_the_tissue_is(embed, slides, tmp_path):
    (tmp_path / "regions").mkdir()
    square = [[400, 400], [1200, 400], [1200, 1200], [400, 1200], [400, 400]]
    geometry = {"type": "Polygon", "coordinates": [square]}
    (tmp_path / "regions/a.geojson").write_text(json.dumps({"geometry": geometry}))
    assert embed("--regions", tmp_path / "regions")[0] == 0
    _, coords = content(tmp_path / f"out/{FEATURES}/a.h5")
    assert len(coords)
    assert coords.min() >= 400 - 48
    assert coords.max() <= 1200
    assert table(tmp_path / "out")["a.svs"]["mask"] == "a.geojson"
