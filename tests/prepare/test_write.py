import csv
import json
import os
import re
from pathlib import Path

import numpy as np
import pytest

from histo_simclr import image_hash, records
from histo_simclr.errors import InputError
from histo_simclr.prepare import isolated, pool, record_set
from histo_simclr.prepare.item import Item
from histo_simclr.prepare.patches import Cutting

CUTTING = Cutting(32, 32, "jpeg", 90)


@pytest.fixture
def labelled(tmp_path, images):
    """Folder of 8 labelled images in two splits: 6 px-sized JPEGs, a larger PNG, a small BMP."""
    files = {
        f"{split}/{label}/P{patient}_{i}.jpg": images.encode(
            images.pixels(32, 32, 10 * patient + i)
        )
        for split, label, patient in (("train", "a", 1), ("train", "b", 2), ("test", "a", 3))
        for i in range(2)
    }
    files["test/b/P4_0.png"] = images.encode(images.pixels(70, 64, 5), "PNG")
    files["train/b/P5_0.BMP"] = images.encode(images.pixels(16, 16, 6), "BMP")
    return images.tree(tmp_path / "source", files)


PATTERN = "{split}/{label}/{patient}_*"


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def nothing_in(folder: Path) -> bool:
    return not folder.exists() or not list(folder.rglob("*"))


def test_plain_tfds_reads_the_record_set(prepare, labelled, images):
    import tensorflow_datasets as tfds

    path = prepare(labelled, pattern=PATTERN)
    builder = tfds.builder_from_directory(str(path))
    assert builder.info.features["label"].names == ["a", "b"]
    assert {name: split.num_examples for name, split in builder.info.splits.items()} == {
        "train": 5,
        "test": 6,
    }
    for example in builder.as_dataset(split="train").as_numpy_iterator():
        name = example["key"].decode().removeprefix("Set A/")
        if name.endswith("jpg"):
            # TensorFlow's and Pillow's JPEG decoders round differently.
            expected = images.decoded((labelled / name).read_bytes()).astype(int)
            assert np.abs(example["image"].astype(int) - expected).max() <= 4
        assert "ab"[example["label"]] == name.split("/")[1]
        assert example["patient"].decode() == name.split("/")[2].split("_")[0]
        assert example["organ"] == b"colon"


def test_jpeg_bytes_pass_through_into_the_record(prepare, labelled):
    import tensorflow_datasets as tfds

    builder = tfds.builder_from_directory(str(prepare(labelled, pattern=PATTERN)))
    decoders = {"image": tfds.decode.SkipDecoding()}
    found = 0
    for split in ("train", "test"):
        for example in builder.as_dataset(split=split, decoders=decoders).as_numpy_iterator():
            name = example["key"].decode().removeprefix("Set A/")
            if name.endswith(".jpg"):
                assert example["image"] == (labelled / name).read_bytes()
                found += 1
    assert found == 6


def test_manifest_says_where_each_record_lies_and_what_it_is(prepare, labelled, images):
    import hashlib

    import google_crc32c
    import tensorflow as tf

    from histo_simclr.records import masked_crc

    path = prepare(labelled, pattern=PATTERN)
    opened = {split: records.load_record_set(path, split) for split in ("train", "test")}
    assert {split: len(each.rows) for split, each in opened.items()} == {"train": 5, "test": 6}
    for each in opened.values():
        rows, columns = each.rows, each.columns
        for i in range(len(rows)):
            data = Path(rows.shards[rows.shard[i]]).read_bytes()
            example = data[rows.offset[i] : rows.offset[i] + rows.length[i]]
            assert masked_crc(example) == rows.crc[i]
            assert google_crc32c.value(example) != rows.crc[i]  # the mask is on
            feature = tf.train.Example.FromString(example).features.feature
            for name, (kind, _) in records.PROVENANCE_FIELDS.items():
                values = feature[name]
                if kind is str:
                    assert values.bytes_list.value[0].decode() == columns[name][i]
                elif kind is int:
                    assert values.int64_list.value[0] == columns[name][i]
                else:
                    assert values.float_list.value[0] == np.float32(columns[name][i])
            pixels = images.decoded(feature["image"].bytes_list.value[0])
            assert pixels.shape == (32, 32, 3)
            assert image_hash.exact(pixels) == columns["pixels_sha256"][i]
            np.testing.assert_allclose(columns["mean_g"][i], (pixels[..., 1] / 255).mean())
            source = (labelled / columns["source"][i]).read_bytes()
            assert hashlib.sha256(source).hexdigest() == columns["source_sha256"][i]


def test_cut_and_resampled_patches_state_place_and_mpp(prepare, labelled):
    path = prepare(labelled, pattern=PATTERN)
    train = records.load_record_set(path, "train").columns
    small = train["source"] == "train/b/P5_0.BMP"
    assert train["mpp"][small].tolist() == [0.25]  # 16 source px of 0.5 µm became 32
    assert train["x"][small].tolist() == [-1]
    test = records.load_record_set(path, "test").columns
    cut = test["source"] == "test/b/P4_0.png"
    corners = list(zip(test["x"][cut], test["y"][cut], strict=True))
    assert corners == [(0, 0), (32, 0), (0, 32), (32, 32)]
    assert test["key"][cut][1] == "Set A/test/b/P4_0.png_32_0"
    assert test["mpp"][cut].tolist() == [0.5] * 4


def test_bytes_do_not_depend_on_the_number_of_workers(prepare, labelled, tmp_path):
    one = prepare(labelled, pattern=PATTERN, out=tmp_path / "one")
    two = prepare(labelled, pattern=PATTERN, out=tmp_path / "two", workers=2)
    assert content(one) == content(two)
    assert len(content(one)) >= 7


def test_nothing_written_names_this_machine(prepare, labelled, tmp_path):
    path = prepare(labelled, pattern=PATTERN)
    for name, data in content(path).items():
        assert str(tmp_path).encode() not in data, name


def test_unlabelled_set_has_no_label_anywhere(prepare, tmp_path, images):
    source = images.tree(tmp_path / "s", {"1.png": images.encode(images.pixels(32, 32), "PNG")})
    opened = records.load_record_set(prepare(source), "train")
    assert opened.class_names is None
    assert opened.columns["label"].tolist() == [None]
    assert '"label"' not in (opened.path / "features.json").read_text()


def test_unusable_files_are_left_out_counted_and_named(prepare, labelled, images):
    jpeg = images.encode(images.pixels(32, 32, 77))
    images.tree(
        labelled / "train/a",
        {"P1_x.jpg": b"", "P1_y.jpg": b"plain text", "P1_z.jpg": jpeg[: len(jpeg) * 3 // 4]},
    )
    path = prepare(labelled, pattern=PATTERN, max_rejected=0.3)
    rejected = dict(csv.reader((path / "rejected.csv").read_text().splitlines()))
    assert rejected.pop("source") == "reason"
    assert list(rejected) == [f"train/a/P1_{name}.jpg" for name in "xyz"]
    assert rejected["train/a/P1_x.jpg"] == "zero bytes"
    assert rejected["train/a/P1_y.jpg"] == "not a JPEG, PNG, TIFF or BMP image"
    assert "truncated" in rejected["train/a/P1_z.jpg"]
    info = json.loads((path / "record_set.json").read_text())
    assert info["rejected"] == 3
    assert info["counts"] == {"test": 6, "train": 5}
    assert len(records.load_record_set(path, "train").rows) == 5


def test_too_many_unusable_files_are_an_error_and_leave_nothing(prepare, labelled, tmp_path):
    (labelled / "train/a/P1_x.jpg").write_bytes(b"")
    says = r"more than 10.0% of 9 images.*P1_x.jpg: zero bytes.*--max-rejected"
    with pytest.raises(InputError, match=says):
        prepare(labelled, pattern=PATTERN, max_rejected=0.1)
    assert nothing_in(tmp_path / "records")


def test_record_set_that_exists_is_not_overwritten(prepare, labelled):
    path = prepare(labelled, pattern=PATTERN)
    before = content(path)
    with pytest.raises(InputError, match="the record set exists.*delete it first"):
        prepare(labelled, pattern=PATTERN, max_rejected=0.5)
    assert content(path) == before


@pytest.mark.parametrize("workers", [1, 2])
def test_full_disk_leaves_nothing(prepare, labelled, tmp_path, monkeypatch, workers):
    class FullDisk(record_set.ShardWriter):
        def write(self, example):
            if sum(self.lengths) == 2:
                raise OSError(28, "No space left on device")
            return super().write(example)

    monkeypatch.setattr(record_set, "ShardWriter", FullDisk)
    says = r"records/set_a/1.0.0: cannot be written \(No space left on device\).*--out"
    with pytest.raises(InputError, match=says):
        prepare(labelled, pattern=PATTERN, workers=workers)
    assert nothing_in(tmp_path / "records")
    assert not (tmp_path / "records").exists()


def test_interrupt_leaves_nothing(prepare, labelled, tmp_path, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(record_set.RecordSetWriter, "finish", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prepare(labelled, pattern=PATTERN)
    assert nothing_in(tmp_path / "records")


def test_place_that_cannot_be_written_is_named(prepare, labelled, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(InputError, match="cannot be written"):
        prepare(labelled, pattern=PATTERN, out=tmp_path / "file")


def rows(tmp_path, images, text):
    """A CSV of images 1.png to 4.png with the given further columns."""
    for number in range(1, 5):
        data = images.encode(images.pixels(32, 32, number), "PNG")
        (tmp_path / f"{number}.png").write_bytes(data)
    (tmp_path / "list.csv").write_text(text)
    return tmp_path / "list.csv"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("path\n1.png\n2.png\n1.png\n", "1 images are listed twice, e.g. 1.png"),
        ("path,label\n1.png,a\n2.png,\n3.png,b\n", "1 of 3 images have no label"),
        (
            "path,label,split\n1.png,a,train\n2.png,b,test\n",
            "class 'b' is in split test but not in train",
        ),
        (
            "path,patient,split\n1.png,P1,train\n2.png,P1,test\n",
            "patient 'P1' is in the splits train and test",
        ),
        ("path,slide,split\n1.png,S1,train\n2.png,S1,test\n", "slide 'S1' is in the splits"),
        ("path,split\n1.png,train set\n", "split 'train set'"),
    ],
)
def test_lists_that_cannot_be_right_are_refused(prepare, tmp_path, images, text, says):
    with pytest.raises(InputError, match=says):
        prepare(rows(tmp_path, images, text))
    assert nothing_in(tmp_path / "records")


def test_class_that_train_loses_to_unusable_files_is_refused(prepare, tmp_path, images):
    text = "path,label,split\n1.png,a,train\n2.png,b,train\n3.png,b,test\n"
    source = rows(tmp_path, images, text)
    (tmp_path / "2.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"rejected images left out\): class 'b' is in split test"):
        prepare(source, max_rejected=0.5)
    assert nothing_in(tmp_path / "records")


def test_split_of_unusable_files_is_refused(prepare, tmp_path, images):
    source = rows(tmp_path, images, "path,split\n1.png,train\n2.png,test\n")
    (tmp_path / "2.png").unlink()
    with pytest.raises(InputError, match="every image of split test was rejected.*no such file"):
        prepare(source, max_rejected=0.5)


def test_folder_without_images_is_refused(prepare, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty: no images"):
        prepare(tmp_path / "empty")


def test_own_record_set_can_be_a_source(prepare, labelled):
    first = prepare(labelled, pattern=PATTERN)
    again = prepare(first, name="Again", px=16, cut=32)
    columns = records.load_record_set(again, "test").columns
    assert sorted(columns["label"]) == ["a", "a", "b", "b", "b", "b"]
    assert set(columns["patient"]) == {"P3", "P4"}
    assert set(columns["mpp"]) == {1.0}


@pytest.mark.parametrize(
    ("name", "expected"),
    [("CRC-VAL-HE-7K", "crc_val_he_7k"), ("16 cases", "set_16_cases"), ("Å b", "b")],
)
def test_slug_is_a_name_that_tfds_takes(name, expected):
    assert record_set.slug(name) == expected
    assert re.fullmatch(r"[a-z]\w*", expected)


def test_name_without_letters_is_refused():
    with pytest.raises(InputError, match="--name"):
        record_set.slug("--")


def test_an_image_that_never_ends_costs_itself_only(tmp_path, images, monkeypatch):
    monkeypatch.setattr(pool, "SILENCE", 3.0)
    names = [f"{number}.jpg" for number in range(40)]
    for name in names:
        (tmp_path / name).write_bytes(images.encode(images.pixels(32, 32)))
    (tmp_path / "7.jpg").unlink()
    os.mkfifo(tmp_path / "7.jpg")  # opening it waits for somebody to write

    def walk():
        return (Item(name, str(tmp_path / name)) for name in names)

    found = {item.name: result for item, result in pool.in_order(walk, CUTTING, 2)}
    assert list(found) == names
    assert found.pop("7.jpg").reason == "no sign of life for 3 s"
    assert all(len(result.patches) == 1 and not result.reason for result in found.values())


def test_images_in_flight_stay_few(tmp_path, images):
    (tmp_path / "1.jpg").write_bytes(images.encode(images.pixels(32, 32)))
    walked = 0

    def walk():
        nonlocal walked
        for number in range(5000):
            walked += 1
            yield Item(str(number), str(tmp_path / "1.jpg"))

    results = pool.in_order(walk, CUTTING, 2)
    names = [next(results)[0].name for _ in range(100)]
    assert names == [str(number) for number in range(100)]
    ahead = pool.TASK_IMAGES * (2 * isolated.TASKS_AHEAD + 2)
    assert walked <= 100 + ahead
    results.close()
