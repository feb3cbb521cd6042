import json

import numpy as np
import pytest

from histo_simclr import cli, records
from histo_simclr.errors import InputError


@pytest.fixture
def listed(tmp_path, images):
    """listed(text): a CSV of that text beside images 1.png to 4.png."""
    for number in range(1, 5):
        data = images.encode(images.pixels(64, 32, number), "PNG")
        (tmp_path / f"{number}.png").write_bytes(data)

    def write(text):
        (tmp_path / "list.csv").write_text(text)
        return tmp_path / "list.csv"

    return write


TABLE = "path,target,split\n1.png,0.25,train\n2.png,1,train\n3.png,0,test\n4.png,1e-1,test\n"


def test_targets_come_back_for_each_patch_of_an_image(prepare, listed):
    path = prepare(listed(TABLE))
    train, test = (records.load_record_set(path, split) for split in ("train", "test"))
    assert train.has_targets
    assert train.columns["target"].dtype == np.float64
    assert train.columns["target"].tolist() == [0.25, 0.25, 1.0, 1.0]
    assert test.columns["target"].tolist() == [0.0, 0.0, 0.1, 0.1]
    assert train.class_names is None


def test_tfds_reads_the_targets(prepare, listed):
    import tensorflow_datasets as tfds

    builder = tfds.builder_from_directory(prepare(listed(TABLE)))
    examples = builder.as_dataset(split="test", as_supervised=True).as_numpy_iterator()
    assert [float(target) for _, target in examples] == [0.0, 0.0, np.float32(0.1), np.float32(0.1)]


def test_descriptions_state_the_targets(prepare, listed):
    path = prepare(listed(TABLE))
    info = json.loads((path / "record_set.json").read_text())
    assert info["target"] == {"low": 0.0, "high": 1.0}
    assert "| targets | from 0 to 1 |" in (path / "README.md").read_text()
    fields = json.loads((path / "croissant.json").read_text())["recordSet"][0]["field"]
    said = {each["name"]: (each["description"], each["dataType"]) for each in fields}
    assert said["target"] == ("number to predict", "sc:Float")


def test_labels_and_targets_may_stand_together(prepare, listed):
    text = "path,label,target\n1.png,a,3\n2.png,b,-4.5\n"
    opened = records.load_record_set(prepare(listed(text)), "train")
    assert opened.class_names == ["a", "b"]
    assert opened.columns["target"].tolist() == [3, 3, -4.5, -4.5]


def test_own_record_set_keeps_its_targets(prepare, listed):
    again = prepare(prepare(listed(TABLE)), name="Again")
    np.testing.assert_allclose(
        records.load_record_set(again, "test").columns["target"], [0, 0, 0.1, 0.1], rtol=1e-7
    )


def test_mix_is_the_same_with_and_without_targets(prepare, listed, tmp_path):
    texts = {"with": "path,target\n1.png,1\n2.png,2\n", "without": "path\n1.png\n2.png\n"}
    digests = set()
    for name, text in texts.items():
        records_folder = prepare(listed(text), out=tmp_path / name)
        out = tmp_path / f"mix_{name}"
        assert cli.main(["mix", str(records_folder), "--out", str(out), "--size", "4"]) == 0
        digests.add(json.loads((out / "mix.json").read_text())["digest"])
    assert len(digests) == 1


def test_set_without_targets_has_none_anywhere(prepare, listed):
    path = prepare(listed("path\n1.png\n"))
    opened = records.load_record_set(path, "train")
    assert not opened.has_targets
    assert "target" not in opened.columns
    for file in path.iterdir():
        assert b"target" not in file.read_bytes().replace(b"target_", b""), file.name


@pytest.mark.parametrize("bad", ["", "high", "nan", "inf", "0,5"])
def test_bad_target_names_the_row(prepare, listed, bad):
    quoted = f'"{bad}"' if "," in bad else bad
    with pytest.raises(InputError, match=rf"list.csv:3: target is '{bad}'"):
        prepare(listed(f"path,target\n1.png,0.5\n2.png,{quoted}\n"))


def test_targets_of_one_source_only_are_refused(prepare, listed, tmp_path, images):
    first = listed("path,target\n1.png,0.5\n2.png,1\n")
    other = images.tree(tmp_path / "more", {"1.png": images.encode(images.pixels(32, 32), "PNG")})
    with pytest.raises(InputError, match="1 of 3 images have no target"):
        prepare([first, other])
