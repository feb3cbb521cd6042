"""Features that others computed: written by plain numpy here, as README tells others to."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from histo_simclr import records
from histo_simclr.errors import InputError
from histo_simclr.evaluate import precomputed
from histo_simclr.input import reader

ABOUT = {"name": "theirs", "weights": "file.bin", "normalization": "x / 255", "px": 32}
KEYS = np.array(["toy/a/2.png", "toy/a/1.png", "toy/ü/3.png"])
FEATURES = np.array([[1.0, 2.0], [3.0, -4.0], [5.0, 6.5]], np.float32)


def _write(folder, *, split="train", about=ABOUT | {"dimensions": 2}, **arrays):
    """What a user of another framework does: two numpy calls and a JSON file."""
    (folder / "toy").mkdir(parents=True, exist_ok=True)
    (folder / "features.json").write_text(json.dumps(about))
    np.savez(folder / "toy" / f"{split}.npz", **{"key": KEYS, "features": FEATURES} | arrays)
    return folder


def _refusal(folder, keys=KEYS, *, record_set="toy", split="train"):
    with pytest.raises(InputError) as caught:
        precomputed.read(folder, record_set, split, keys)
    return str(caught.value)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ">f4"])
def test_rows_come_by_key_in_any_order_and_as_float32(tmp_path, dtype):
    folder = _write(tmp_path, features=FEATURES.astype(dtype))
    found = precomputed.read(folder, "toy", "train", KEYS[[2, 0, 1]])
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, [[5.0, 6.5], [1.0, 2.0], [3.0, -4.0]])


def test_keys_may_be_objects_as_a_manifest_gives_them_and_fewer_than_there_are(tmp_path):
    found = precomputed.read(_write(tmp_path), "toy", "train", np.array(KEYS[1:2], dtype=object))
    np.testing.assert_array_equal(found, [[3.0, -4.0]])


def test_what_is_written_is_what_numpy_reads(tmp_path):
    precomputed.write(tmp_path, ABOUT, "toy", "test", KEYS, FEATURES)
    with np.load(tmp_path / "toy" / "test.npz") as file:
        assert file["key"].tolist() == KEYS.tolist()
        np.testing.assert_array_equal(file["features"], FEATURES)
    assert json.loads((tmp_path / "features.json").read_text()) == ABOUT | {"dimensions": 2}
    assert precomputed.about(tmp_path) == ABOUT | {"dimensions": 2}


def test_features_of_a_real_manifest_find_their_patches(toy, tmp_path):
    """The patches' own mean colors as features, shuffled: the manifest says which is whose."""
    for split in ("train", "test"):
        columns = records.load_record_set(toy, split).columns
        colors = np.stack([columns[f"mean_{each}"] for each in "rgb"], axis=1)
        order = np.random.default_rng(0).permutation(len(colors))
        keys = columns["key"].astype(str)
        precomputed.write(tmp_path, ABOUT, "toy", split, keys[order], colors[order])
        found = precomputed.read(tmp_path, "toy", split, keys)
        np.testing.assert_array_equal(found, colors.astype(np.float32))


def test_the_code_of_the_readme_gives_each_patch_its_own_features(toy, tmp_path):
    """The "network" shrinks a patch to 8 x 8: what our reader decodes is nearest to its own row."""
    text = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    code = re.search(r"## Features of your own.*?```python\n(.*?)```", text, re.DOTALL)[1]
    for old, new in (
        ("/data/labelled/nct/1.0.0", str(records.resolve_record_set(toy))),
        ("/data/theirs/nct", f"{tmp_path}/toy"),
        ("/data/theirs", str(tmp_path)),
        ('"dimensions": 512', '"dimensions": 192'),
    ):
        assert old in code
        code = code.replace(old, new)
    exec(code, {"my_network": _shrunk})
    for split in ("train", "test"):
        part = records.load_record_set(toy, split)
        found = precomputed.read(tmp_path, "toy", split, part.columns["key"])
        pixels = reader.read(part.rows, lambda _: np.arange(36), start=0, stop=1)
        expected = np.stack([_shrunk(each) for each in next(pixels)])
        distances = np.linalg.norm(found[:, None] - expected[None], axis=-1)
        np.testing.assert_array_equal(distances.argmin(1), np.arange(36))


def _shrunk(patch):
    return patch.reshape(8, 4, 8, 4, 3).mean((1, 3)).reshape(-1)


def test_sets_of_one_name_share_a_file_and_new_features_replace_old_ones(tmp_path):
    more = [f"more {key}" for key in KEYS]
    for keys, features in (
        (KEYS, FEATURES),
        (more, FEATURES + 1),
        (KEYS[:1], FEATURES[:1] + 2),
    ):
        precomputed.write(tmp_path, ABOUT, "toy", "train", keys, features)
    found = precomputed.read(tmp_path, "toy", "train", [*KEYS, *more])
    expected = np.concatenate([FEATURES[:1] + 2, FEATURES[1:], FEATURES + 1])
    np.testing.assert_array_equal(found, expected)


def test_no_folder_and_no_features_json_are_told_apart(tmp_path):
    assert "no such folder" in _refusal(tmp_path / "nowhere")
    assert f"{tmp_path}: no features.json in this folder" in _refusal(tmp_path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": None}, "name is None, not a text"),
        ({"normalization": ""}, "normalization is '', not a text"),
        ({"px": "224"}, "px is '224', not a whole number above 0"),
        ({"dimensions": True}, "dimensions is True, not a whole number above 0"),
    ],
)
def test_features_json_must_say_what_the_features_are(tmp_path, change, words):
    place = tmp_path / "features.json"
    assert f"{place}: {words}" in _refusal(
        _write(tmp_path, about=ABOUT | {"dimensions": 2} | change)
    )


@pytest.mark.parametrize("content", ["{", "[]", '{"name": "theirs"}'])
def test_a_torn_features_json_is_named(tmp_path, content):
    _write(tmp_path)
    (tmp_path / "features.json").write_text(content)
    assert str(tmp_path / "features.json") in _refusal(tmp_path)


def test_other_record_sets_and_splits_are_refused_with_those_that_there_are(tmp_path):
    folder = _write(_write(tmp_path), split="test")
    assert "no features of the record set 'pcam', only of toy" in _refusal(
        folder, record_set="pcam"
    )
    assert "no features of the split 'val', only of test, train" in _refusal(folder, split="val")


@pytest.mark.parametrize("name", ["..", "a/b", ""])
def test_a_name_does_not_lead_out_of_the_folder(tmp_path, name):
    assert f"cannot be named {name!r}" in _refusal(_write(tmp_path), record_set=name)
    with pytest.raises(InputError, match="cannot be named"):
        precomputed.write(tmp_path, ABOUT, "toy", name, KEYS, FEATURES)


def test_missing_keys_are_counted_and_the_first_is_named(tmp_path):
    keys = ["toy/a/1.png", "toy/a/8.png", "toy/a/9.png"]
    assert "lacks 2 of 3 keys (the first is 'toy/a/8.png')" in _refusal(_write(tmp_path), keys)


BAD_ARRAYS = {
    "a key twice": ({"key": KEYS[[0, 1, 1]]}, "1 keys occur more than once"),
    "NaN": ({"features": FEATURES * [[1], [np.nan], [1]]}, "of the key 'toy/a/1.png'"),
    "infinity": ({"features": FEATURES * [[1], [1], [np.inf]]}, "of the key 'toy/ü/3.png'"),
    "too large": (
        {"features": FEATURES.astype(float) * 1e39},
        "3 of 3 rows hold NaN or infinity in float32",
    ),
    "integers": ({"features": FEATURES.astype(np.int8)}, "features are int8, not floats"),
    "bytes": ({"key": np.array([b"a", b"b", b"c"])}, "keys are |S1, not text"),
    "one row less": ({"features": FEATURES[:2]}, "keys have the shape (3,), features (2, 2)"),
    "feature maps": ({"features": FEATURES[..., None]}, "features (3, 2, 1)"),
    "no rows": ({"key": KEYS[:0], "features": FEATURES[:0]}, "features (0, 2)"),
}


@pytest.mark.parametrize("case", BAD_ARRAYS)
def test_arrays_that_cannot_be_features_are_refused_with_their_file(tmp_path, case):
    arrays, words = BAD_ARRAYS[case]
    said = _refusal(_write(tmp_path, **arrays))
    assert said.startswith(f"{tmp_path / 'toy' / 'train.npz'}: ")
    assert words in said


@pytest.mark.parametrize("case", BAD_ARRAYS)
def test_what_could_not_be_read_is_not_written(tmp_path, case):
    arrays, words = BAD_ARRAYS[case]
    given = {"key": KEYS, "features": FEATURES} | arrays
    with pytest.raises(InputError) as caught:
        precomputed.write(tmp_path, ABOUT, "toy", "train", given["key"], given["features"])
    assert words in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_bad_rows_that_nobody_asks_for_do_no_harm(tmp_path):
    folder = _write(tmp_path, features=FEATURES * [[1], [np.nan], [1]])
    np.testing.assert_array_equal(
        precomputed.read(folder, "toy", "train", KEYS[[2]]), FEATURES[[2]]
    )


def test_splits_of_two_encoders_do_not_pass_for_one(tmp_path):
    folder = _write(tmp_path, features=np.ones((3, 5), np.float32))
    assert "features have 5 dimensions, features.json says 2" in _refusal(folder)
    with pytest.raises(InputError, match="features of another encoder: px was 32, is 96"):
        precomputed.write(folder, ABOUT | {"px": 96}, "toy", "test", KEYS, FEATURES)
    with pytest.raises(InputError, match="dimensions was 2, is 1"):
        precomputed.write(folder, ABOUT, "toy", "test", KEYS, FEATURES[:, :1])
    assert not (folder / "toy" / "test.npz").exists()


def test_python_objects_arrays_without_names_and_other_names_are_refused(tmp_path):
    folder = _write(tmp_path, key=KEYS.astype(object))
    assert "holds Python objects" in _refusal(folder)
    _write(folder, labels=FEATURES)
    place = folder / "toy" / "train.npz"
    np.savez(place, keys=KEYS, features=FEATURES)
    assert "lacks the array 'key'; it holds keys, features" in _refusal(folder)
    with place.open("wb") as file:
        np.save(file, FEATURES)
    assert "is one array, not an npz file" in _refusal(folder)


def test_a_file_torn_anywhere_is_an_error_and_never_other_features(tmp_path):
    place = _write(tmp_path) / "toy" / "train.npz"
    whole = place.read_bytes()
    for length in range(0, len(whole), 7):
        place.write_bytes(whole[:length])
        assert str(place) in _refusal(tmp_path)
    start = whole.index(FEATURES.tobytes())
    for offset in range(FEATURES.nbytes):
        flipped = bytearray(whole)
        flipped[start + offset] ^= 1
        place.write_bytes(flipped)
        assert "is torn" in _refusal(tmp_path)


WRITE_MUCH = """
import resource, sys
import numpy as np
from histo_simclr.errors import InputError
from histo_simclr.evaluate import precomputed
from histo_simclr.input import reader
about = precomputed.about(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (4000, resource.RLIM_INFINITY))
keys = np.arange(5000).astype(str)
try:
    precomputed.write(sys.argv[1], about, "toy", "train", keys, np.ones((5000, 2)))
except InputError as error:
    print(error)
"""


def test_a_full_disk_is_one_line_and_leaves_the_split_that_was_there(tmp_path):
    """A limit on the size of files makes writes fail in the middle, as a full disk does."""
    precomputed.write(tmp_path, ABOUT, "toy", "train", KEYS, FEATURES)
    command = [sys.executable, "-c", WRITE_MUCH, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "cannot be written (File too large); make room" in done.stdout
    np.testing.assert_array_equal(precomputed.read(tmp_path, "toy", "train", KEYS), FEATURES)
    assert [file.name for file in (tmp_path / "toy").iterdir()] == ["train.npz"]
