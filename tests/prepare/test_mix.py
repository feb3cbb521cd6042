import hashlib
import json
import shutil
import time
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from histo_simclr import records
from histo_simclr.errors import InputError
from histo_simclr.prepare import mix as mixing
from histo_simclr.prepare.manifest import SCHEMA


@pytest.fixture(scope="module")
def made(tmp_path_factory, images):
    """Folder with the real record sets a (12 train), b (6 train, 2 of them in a; 2 test), px 32."""
    from histo_simclr.prepare import write
    from histo_simclr.prepare.item import Item
    from histo_simclr.prepare.patches import Cutting
    from histo_simclr.prepare.record_set import Cohort

    root = tmp_path_factory.mktemp("mix")

    def jpeg(seed):
        return images.encode(images.pixels(32, 32, seed))

    images.tree(root / "source_a", {f"train/{i:02d}.jpg": jpeg(i) for i in range(12)})
    seeds = {"train/0": 0, "train/1": 11, "train/2": 20, "train/3": 21, "train/4": 22}
    seeds |= {"train/5": 30, "test/0": 30, "test/1": 31}
    images.tree(root / "source_b", {f"{name}.jpg": jpeg(seed) for name, seed in seeds.items()})
    for name, use, organ, license in (("a", "yes", "colon", "CC0"), ("b", "no", "", "CC BY-NC")):
        write.prepare(
            [str(root / f"source_{name}")],
            out=root / "records",
            cohort=Cohort(name, license, use, "Doe", "https://example.org"),
            cutting=Cutting(32, 32, "jpeg", 90),
            defaults=Item("", "", split="train", organ=organ, stain="H&E", mpp=0.5),
            pattern="{split}/*",
            labels="",
            max_rejected=0.0,
            workers=1,
        )
    return root


def draw(made, out, names="ab", **given):
    settings = {"size": 8, "draw": "even", "px": None, "seed": 0} | given
    sets = [made / "records" / name for name in names]
    return mixing.mix(sets, out=out, **settings)


def pixels_of(path, images):
    import tensorflow as tf

    rows, _ = records.load_mix(path)
    found = []
    for i in range(len(rows)):
        data = Path(rows.shards[rows.shard[i]]).read_bytes()
        example = tf.train.Example.FromString(data[rows.offset[i] :][: rows.length[i]])
        found.append(images.decoded(example.features.feature["image"].bytes_list.value[0]))
    return np.stack(found)


@pytest.mark.parametrize("names", ["ab", "ba"])
def test_index_points_at_the_patches_that_it_names(made, tmp_path, names):
    import tensorflow as tf

    path = draw(made, tmp_path / "m", names=names, size=15)
    rows, info = records.load_mix(path)
    index = records.read_parquet(path / "index.parquet")
    assert (len(rows), rows.px, info["size"]) == (15, 32, 15)
    for i in range(15):
        data = Path(rows.shards[rows.shard[i]]).read_bytes()
        example = tf.train.Example.FromString(data[rows.offset[i] :][: rows.length[i]])
        assert example.features.feature["key"].bytes_list.value[0].decode() == index["key"][i]


def test_duplicates_and_held_out_pixels_are_dropped_first_cohort_kept(made, tmp_path):
    path = draw(made, tmp_path / "m", size=15)
    info = json.loads((path / "mix.json").read_text())
    counts = ("rows", "available", "duplicates", "held_out")
    found = {name: [each[key] for key in counts] for name, each in info["cohorts"].items()}
    # b: train/0 and train/1 are in a, train/5 is test/0.
    assert found == {"a": [12, 12, 0, 0], "b": [3, 3, 2, 1]}
    assert info["duplicates_dropped"] == 2
    keys = set(records.read_parquet(path / "index.parquet", ["key"])["key"])
    assert {key for key in keys if key[0] == "b"} == {f"b/train/{i}.jpg" for i in (2, 3, 4)}


def test_order_of_the_record_sets_decides_who_keeps_a_duplicate(made, tmp_path):
    path = draw(made, tmp_path / "m", names="ba", size=15)
    info = json.loads((path / "mix.json").read_text())
    assert list(info["cohorts"]) == ["b", "a"]
    assert [each["duplicates"] for each in info["cohorts"].values()] == [0, 2]


def test_test_split_is_never_drawn(made, tmp_path):
    keys = records.read_parquet(draw(made, tmp_path / "m", size=15) / "index.parquet")["key"]
    assert not [key for key in keys if "/test/" in key]


@pytest.mark.parametrize(
    ("kind", "size", "expected"),
    [
        ("even", 8, [5, 3]),  # b gives its 3, a the rest
        ("even", 5, [3, 2]),
        ("proportional", 5, [4, 1]),  # 12 and 3 of 15
        ("tempered:0.5", 6, [4, 2]),  # sqrt(12) : sqrt(3) = 2 : 1
        ("tempered:0", 4, [2, 2]),
    ],
)
def test_cohorts_give_the_quota_worked_out_by_hand(made, tmp_path, kind, size, expected):
    path = draw(made, tmp_path / "m", draw=kind, size=size)
    info = json.loads((path / "mix.json").read_text())
    assert [each["rows"] for each in info["cohorts"].values()] == expected
    cohorts = records.read_parquet(path / "index.parquet", ["cohort"])["cohort"]
    assert cohorts.tolist() == ["a"] * expected[0] + ["b"] * expected[1]


def test_statistics_are_those_of_the_decoded_pixels(made, tmp_path, images):
    path = draw(made, tmp_path / "m", size=9)
    pixels = pixels_of(path, images).reshape(-1, 3) / 255
    found = json.loads((path / "mix.json").read_text())["statistics"]
    np.testing.assert_allclose(found["mean"], pixels.mean(0), rtol=1e-9)
    np.testing.assert_allclose(found["std"], pixels.std(0), rtol=1e-9)


def test_same_seed_gives_the_same_bytes_another_seed_other_rows(made, tmp_path):
    first, again, other = (
        draw(made, tmp_path / name / "m", seed=seed)
        for name, seed in (("1", 3), ("2", 3), ("3", 4))
    )
    for name in ("index.parquet", "mix.json"):
        first_bytes = (first / name).read_bytes().replace(b"/1/", b"/2/")
        assert first_bytes == (again / name).read_bytes()
    digests = [json.loads((each / "mix.json").read_text())["digest"] for each in (first, other)]
    assert digests[0] != digests[1]


def test_digest_names_patches_in_order(made, tmp_path):
    path = draw(made, tmp_path / "m")
    index = records.read_parquet(path / "index.parquet")
    lines = zip(index["key"], index["pixels_sha256"], strict=True)
    text = "".join(f"{key}\t{pixels}\n" for key, pixels in lines)
    digest = json.loads((path / "mix.json").read_text())["digest"]
    assert digest == hashlib.sha256(text.encode()).hexdigest()


def test_mix_and_records_can_move_together(made, tmp_path, images):
    shutil.copytree(made / "records", tmp_path / "here" / "records")
    path = mixing.mix(
        [tmp_path / "here/records/a"],
        out=tmp_path / "here/m",
        size=4,
        draw="even",
        px=None,
        seed=0,
    )
    before = pixels_of(path, images)
    (tmp_path / "here").rename(tmp_path / "there")
    np.testing.assert_array_equal(pixels_of(tmp_path / "there/m", images), before)


def test_licences_and_uses_roll_up_to_the_strictest(made, tmp_path):
    info = json.loads((draw(made, tmp_path / "m") / "mix.json").read_text())
    assert info["commercial_use"] == "no"
    assert info["cohorts"]["a"]["license"] == "CC0"
    assert info["record_sets"][0]["organ"] == {"colon": 5}
    assert info["cohorts"]["b"]["organ"] == ""
    assert info["cohorts"]["a"]["mpp"] == [0.5]
    only_a = json.loads((draw(made, tmp_path / "n", names="a") / "mix.json").read_text())
    assert only_a["commercial_use"] == "yes"


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"size": 16}, "16 patches wanted, 15 different ones there"),
        ({"size": 0}, "--size"),
        ({"px": 64}, "patches of 32 px, but 64 px in --px"),
        ({"draw": "evenly"}, "no draw 'evenly'"),
        ({"draw": "tempered:2"}, "no draw"),
        ({"draw": "tempered"}, "no draw"),
        ({"draw": "even:1"}, "no draw"),
        ({"names": "aa"}, "named twice"),
        ({"names": "c"}, "no such record set"),
        ({"names": ["."]}, "several record sets: a, b"),
    ],
)
def test_bad_request_is_refused_and_leaves_nothing(made, tmp_path, given, says):
    with pytest.raises(InputError, match=says):
        draw(made, tmp_path / "new" / "m", **given)
    assert not (tmp_path / "new").exists()


def test_existing_mix_is_not_overwritten(made, tmp_path):
    path = draw(made, tmp_path / "m")
    before = (path / "index.parquet").read_bytes()
    with pytest.raises(InputError, match="the mix exists"):
        draw(made, tmp_path / "m", seed=1)
    assert (path / "index.parquet").read_bytes() == before


def test_record_sets_of_two_sizes_are_refused(made, tmp_path):
    shutil.copytree(made / "records/b", tmp_path / "b")
    info = tmp_path / "b/1.0.0/record_set.json"
    info.write_text(info.read_text().replace('"px": 32', '"px": 64'))
    with pytest.raises(InputError, match=r"patches of 64 px, but 32 px.*prepare it again"):
        mixing.mix(
            [made / "records/a", tmp_path / "b"],
            out=tmp_path / "m",
            size=4,
            draw="even",
            px=None,
            seed=0,
        )


def test_torn_manifest_is_named_and_nothing_left(made, tmp_path):
    shutil.copytree(made / "records/a", tmp_path / "a")
    manifest = tmp_path / "a/1.0.0/manifest.parquet"
    manifest.write_bytes(manifest.read_bytes()[:-40])
    with pytest.raises(InputError, match="manifest.parquet: cannot be read"):
        mixing.mix([tmp_path / "a"], out=tmp_path / "m", size=4, draw="even", px=None, seed=0)
    assert not (tmp_path / "m").exists()


def test_many_rows_are_drawn_without_a_loop_over_them(tmp_path):
    count = 100_000
    generator = np.random.default_rng(0)
    for name in "xy":
        folder = tmp_path / name / "1.0.0"
        folder.mkdir(parents=True)
        info = {"cohort": name, "px": 32, "license": "", "commercial_use": "yes", "citation": ""}
        info |= {"url": "", "counts": {"train": count}}
        (folder / "record_set.json").write_text(json.dumps(info))
        hashes = generator.bytes(32 * count).hex()
        constant = {pyarrow.string(): "train", pyarrow.float64(): 0.5}
        columns = {field.name: np.full(count, constant.get(field.type, 1)) for field in SCHEMA}
        columns["pixels_sha256"] = [hashes[64 * i : 64 * i + 64] for i in range(count)]
        table = pyarrow.table(columns).cast(SCHEMA)
        pyarrow.parquet.write_table(table, folder / "manifest.parquet", row_group_size=16_384)
    start = time.process_time()
    mixing.mix(
        [tmp_path / "x", tmp_path / "y"],
        out=tmp_path / "m",
        size=60_000,
        draw="even",
        px=None,
        seed=0,
    )
    # 0.4 CPU seconds when written; a loop that looks at each row in Python takes ten times that.
    assert time.process_time() - start < 3
    assert len(records.read_parquet(tmp_path / "m/index.parquet", ["offset"])["offset"]) == 60_000
