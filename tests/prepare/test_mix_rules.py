import collections
import csv
import json
import shutil

import numpy as np
import pytest
from PIL import Image
from skimage import color

from histo_simclr import image_hash, records
from histo_simclr.errors import InputError
from histo_simclr.prepare import draw as drawing
from histo_simclr.prepare import mix as mixing
from histo_simclr.prepare import near_report, relatives, selection, wording


@pytest.fixture(scope="module")
def made(tmp_path_factory, images):
    """Record sets a (12 of 3 slides, 2 patients; may be sold) and b (8 train, 1 test; may not).

    b/3 is a's picture 0 of the same slide at JPEG quality 50, b/4 the same at quality 20; b/5 is
    the test picture at quality 50. The other pictures are strangers to each other.
    """
    from histo_simclr.prepare import write
    from histo_simclr.prepare.item import Item
    from histo_simclr.prepare.patches import Cutting
    from histo_simclr.prepare.record_set import Cohort

    root = tmp_path_factory.mktemp("rules")

    def jpeg(seed, quality=90):
        return images.encode(images.pixels(64, 64, seed), quality=quality)

    # Slides s0 (6 patches), s1 (4), s2 (2); patients p0 (s0, s1), p1 (s2).
    place = ["p0/s0"] * 6 + ["p0/s1"] * 4 + ["p1/s2"] * 2
    a = {f"train/{where}_{i:02d}.jpg": jpeg(i) for i, where in enumerate(place)}
    seeds = {"0": (50, 90), "1": (51, 90), "2": (52, 90), "3": (0, 50), "4": (0, 20)}
    seeds |= {"5": (60, 50), "6": (53, 90), "7": (54, 90)}
    b = {f"train/{name}.jpg": jpeg(*each) for name, each in seeds.items()}
    b |= {"test/0.jpg": jpeg(60)}
    for name, files, license, use, pattern in (
        ("a", a, "CC0-1.0", "yes", "{split}/{patient}/{slide}_*"),
        ("b", b, "CC-BY-NC-4.0", "unknown", "{split}/*"),
    ):
        images.tree(root / f"source_{name}", files)
        write.prepare(
            [str(root / f"source_{name}")],
            out=root / "records",
            cohort=Cohort(name, license, use, "Doe", "https://example.org"),
            cutting=Cutting(64, 64, "jpeg", 90),
            defaults=Item("", "", organ="colon", stain="H&E", mpp=0.5),
            pattern=pattern,
            labels="",
            max_rejected=0.0,
            workers=1,
        )
    return root / "records"


@pytest.fixture
def draw(made, tmp_path):
    """Mixes and returns (mix.json, rows of the index)."""

    def call(names="ab", size=10, out="m", stain_patches=0, **rules):
        path = mixing.mix(
            [made / name for name in names],
            out=tmp_path / out,
            size=size,
            draw="proportional",
            px=None,
            seed=0,
            rules=mixing.Rules(**rules),
            stain_patches=stain_patches,
        )
        info = json.loads((path / "mix.json").read_text())
        return info, records.read_parquet(path / "index.parquet")

    return call


def listed(tmp_path, text):
    (tmp_path / "exclude.csv").write_text(text)
    return tmp_path / "exclude.csv"


def test_each_candidate_has_one_fate(draw, tmp_path):
    exclude = listed(tmp_path, "kind,name\nslide,s1\n")
    info, _ = draw(size=5, near="drop", max_per_slide=4, exclude=exclude)
    found = {
        name: [each[key] for key in ("available", *selection.COUNTED)]
        for name, each in info["cohorts"].items()
    }
    # available, duplicates, held out, excluded, other mpp, near duplicates, over the slide cap
    assert found == {"a": [6, 0, 0, 4, 0, 0, 2], "b": [5, 0, 0, 0, 0, 3, 0]}


def test_slide_cap_holds_and_leaves_unknown_slides_alone(draw):
    info, rows = draw(size=14, max_per_slide=2)
    counts = collections.Counter(zip(rows["cohort"], rows["slide"], strict=True))
    assert counts == {("a", "s0"): 2, ("a", "s1"): 2, ("a", "s2"): 2, ("b", ""): 8}
    assert info["cohorts"]["a"]["over_slide_cap"] == 6
    assert info["cohorts"]["a"]["slides"] == 3
    with pytest.raises(InputError, match="15 patches wanted, 14 different ones there"):
        draw(size=15, max_per_slide=2, out="n")


def test_only_patches_of_the_mpp_asked_for_are_drawn(draw):
    _, rows = draw(size=12, mpp=(0.5, 0.7))  # the lower bound is within
    assert len(rows["mpp"]) == 12
    with pytest.raises(InputError, match=r"0 different ones there from 0.4 to below 0.5 µm/px"):
        draw(size=1, mpp=(0.4, 0.5), out="n")  # the upper one is not


def test_of_equal_pixels_the_one_of_the_mpp_asked_for_is_drawn(made, tmp_path, prepare):
    copy = prepare(made.parent / "source_a", name="copy", px=64, known={"mpp": 1.0})
    path = mixing.mix(
        [copy, made / "a"],
        out=tmp_path / "m",
        size=12,
        draw="even",
        px=None,
        seed=0,
        rules=mixing.Rules(mpp=(0.4, 0.6)),
    )
    cohorts = json.loads((path / "mix.json").read_text())["cohorts"]
    assert [cohorts[name]["other_mpp"] for name in ("copy", "a")] == [12, 0]
    assert [cohorts[name]["rows"] for name in ("copy", "a")] == [0, 12]


def test_patch_that_states_no_mpp_is_of_another(made, tmp_path, prepare):
    silent = prepare(made.parent / "source_a", name="silent", px=64, known={"mpp": 0.0})
    given = {"size": 1, "draw": "even", "px": None, "seed": 0}
    with pytest.raises(InputError, match="0 different ones there"):
        mixing.mix([silent], out=tmp_path / "m", rules=mixing.Rules(mpp=(0.0, 9.0)), **given)


def test_cohort_cap_holds_and_the_others_fill_up(draw):
    info, _ = draw(size=11, max_per_cohort=6)
    assert [each["rows"] for each in info["cohorts"].values()] == [6, 5]
    with pytest.raises(InputError, match="13 patches wanted, 12 different ones there at 6 a coh"):
        draw(size=13, max_per_cohort=6, out="n")


def test_caps_that_bind_nothing_change_nothing(draw):
    free, capped = draw(), draw(max_per_slide=6, max_per_cohort=12, near="report", out="n")
    assert free[0]["digest"] == capped[0]["digest"]


def test_slide_cap_of_one_cohort_does_not_depend_on_others(draw):
    _, alone = draw("a", size=6, max_per_slide=2)
    _, both = draw("ba", size=14, max_per_slide=2, out="n")
    assert sorted(alone["key"]) == sorted(key for key in both["key"] if key[0] == "a")


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("kind,name\nslide,s1\n", 8),
        ("kind,name\npatient,p0\n", 2),
        ("kind,name,cohort\npatient,p0,a\ncohort,B,\n", 2),
    ],
)
def test_listed_things_are_not_drawn(draw, tmp_path, text, left):
    info, rows = draw(size=left, exclude=listed(tmp_path, text))
    assert info["cohorts"]["a"]["available"] == left
    assert info["cohorts"]["a"]["excluded"] == 12 - left
    names = {line.split(",")[1] for line in text.splitlines()[1:]}
    in_a = rows["cohort"] == "a"
    assert not names & (set(rows["slide"][in_a]) | set(rows["patient"][in_a]))
    assert info["rules"]["exclude"] == "exclude.csv"
    if "cohort,B" in text:
        assert set(rows["cohort"]) == {"a"}


def test_copies_of_an_excluded_patch_are_excluded_too(draw, made, tmp_path, prepare):
    source = tmp_path / "copy"
    shutil.copytree(made.parent / "source_a/train/p1", source)
    copy = prepare(source, name="copy", px=64)
    path = mixing.mix(
        [copy, made / "a"],
        out=tmp_path / "m",
        size=10,
        draw="even",
        px=None,
        seed=0,
        rules=mixing.Rules(exclude=listed(tmp_path, "kind,name\nslide,s2\n")),
    )
    cohorts = json.loads((path / "mix.json").read_text())["cohorts"]
    assert [cohorts[name]["excluded"] for name in ("copy", "a")] == [2, 2]


def test_name_that_is_nowhere_is_an_error_unless_allowed(draw, tmp_path):
    exclude = listed(tmp_path, "kind,name\nslide,s1\nslide,s9\n")
    with pytest.raises(InputError, match="1 of 2 entries.*slide s9"):
        draw(exclude=exclude)
    assert not (tmp_path / "m").exists()
    info, _ = draw(exclude=exclude, allow_unmatched=True)
    assert info["unmatched_exclusions"] == ["slide s9"]


def test_cohort_to_evaluate_on_is_refused_unless_allowed(draw):
    with pytest.raises(InputError, match="b is for evaluation"):
        draw(evaluate_on=("b",))
    info, _ = draw(evaluate_on=("b",), allow_overlap=True)
    assert info["evaluation_overlaps"] == ["b is for evaluation"]
    info, _ = draw("a", evaluate_on=("PanNuke",), out="n")
    assert info["evaluation_overlaps"] == []


def test_relative_of_a_set_with_a_held_out_split_is_refused(draw, monkeypatch):
    known = relatives.Known({}, relatives.overlaps([("A", "b")]))
    monkeypatch.setattr(relatives, "known", lambda: known)
    with pytest.raises(InputError, match="a shares pixels with b, which has a held-out split"):
        draw()
    info, _ = draw(allow_overlap=True)
    assert info["related_cohorts"] == [["a", "b"]]
    draw("a", out="n")


def test_only_cohorts_that_allow_it_are_drawn_for_commercial_use(draw):
    info, rows = draw(commercial_ok=True)
    assert set(rows["cohort"]) == {"a"}
    assert info["commercial_use"] == "yes"
    assert [each["cohort"] for each in info["left_out"]] == ["b"]
    with pytest.raises(InputError, match="no record set is known to allow commercial use"):
        draw("b", commercial_ok=True, out="n")


def test_mix_that_may_not_be_sold_says_because_of_whom(draw):
    info, _ = draw()
    assert info["commercial_use"] == "no"
    assert (
        "may not be used commercially because of b (CC-BY-NC-4.0)"
        in (info["commercial_use_because"])
    )


def pairs(tmp_path, out="m"):
    with open(tmp_path / out / "near_duplicates.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_report_is_that_of_comparing_all_with_all(draw, made, tmp_path):
    """Rows with the hash of an earlier one are listed with this one only."""
    info, index = draw(near="report", size=7)
    rows = []
    for name in "ab":
        columns = records.read_parquet(made / name / "1.0.0/manifest.parquet")
        kept = ("split", "key", "perceptual_hash")
        rows += zip(*(columns[each].tolist() for each in kept), strict=True)
    rows.sort(key=lambda row: row[0] != "test")
    hashes = [row[2] for row in rows]
    expected = {}
    for j, (split, second, other) in enumerate(rows):
        for i, (_, first, one) in enumerate(rows[:j]):
            bits = (one ^ other).bit_count()
            stand_in = hashes.index(one) == i and (hashes.index(other) == j or one == other)
            if split == "train" and bits <= 4 and stand_in:
                expected[first, second] = bits
    found = pairs(tmp_path)
    assert sorted(expected.values()) == [0, 0, 4]
    assert {(each["first"], each["second"]): int(each["bits"]) for each in found} == expected
    drawn = set(index["key"])
    for each in found:
        fates = ["drawn" if each[name] in drawn else "not drawn" for name in ("first", "second")]
        fates[0] = "held out" if "/test/" in each["first"] else fates[0]
        assert [each["first_fate"], each["second_fate"]] == fates
    assert info["near_duplicates"] == {"a, b": 2, "b, b (held out)": 1}


def test_pairs_that_are_not_listed_are_counted(draw, tmp_path, monkeypatch):
    whole, _ = draw(near="report")
    assert whole["near_duplicates_are_all"]
    first = pairs(tmp_path)[:1]
    assert wording.near_duplicates(whole) == "3 pairs of near-duplicates"
    monkeypatch.setattr(near_report, "MOST_LISTED", 1)
    info, _ = draw(near="report", out="n")
    assert pairs(tmp_path, "n") == first
    assert info["near_duplicates"] == whole["near_duplicates"]
    assert wording.near_duplicates(info) == "3 pairs of near-duplicates (listed: the first 1)"
    some = info | {"near_duplicates_are_all": False}
    assert "and more that were not looked for" in wording.near_duplicates(some)


def test_dropping_keeps_the_first_of_each_and_nothing_like_the_held_out(draw, tmp_path):
    info, rows = draw(near="drop", size=17)
    assert [each["near_duplicates"] for each in info["cohorts"].values()] == [0, 3]
    kept = {key for key in rows["key"] if key[0] == "b"}
    assert kept == {f"b/train/{i}.jpg" for i in (0, 1, 2, 6, 7)}
    assert {each["second_fate"] for each in pairs(tmp_path)} == {"dropped"}
    with pytest.raises(InputError, match="18 patches wanted, 17 different"):
        draw(near="drop", size=18, out="n")


def test_equal_hashes_are_paired_with_the_first_of_them_only(made, tmp_path, images, prepare):
    flat = {f"{i}.png": images.encode(Image.new("RGB", (64, 64), (i, i, i)), "PNG") for i in "1234"
            for i in [int(i) * 50]}  # fmt: skip
    path = prepare(images.tree(tmp_path / "flat", flat), name="flat", px=64, encoding="png")
    hashes = records.read_parquet(path / "manifest.parquet")["perceptual_hash"]
    assert set(hashes.tolist()) == {0}
    mixing.mix(
        [path], out=tmp_path / "m", size=1, draw="even", px=None, seed=0,
        rules=mixing.Rules(near="drop"),
    )  # fmt: skip
    found = [(each["bits"], each["first"], each["second"]) for each in pairs(tmp_path)]
    assert found == [("0", "flat/100.png", f"flat/{i}.png") for i in (150, 200, 50)]


def test_manifest_without_hashes_is_refused_unless_none_are_asked_for(made, tmp_path):
    import pyarrow.parquet

    shutil.copytree(made / "a", tmp_path / "a")
    manifest = tmp_path / "a/1.0.0/manifest.parquet"
    table = pyarrow.parquet.read_table(manifest).drop_columns("perceptual_hash")
    pyarrow.parquet.write_table(table, manifest)
    given = {"size": 4, "draw": "even", "px": None, "seed": 0}
    says = "manifest.parquet: no column perceptual_hash.*--near-duplicates off"
    with pytest.raises(InputError, match=says):
        mixing.mix([tmp_path / "a"], out=tmp_path / "m", rules=mixing.Rules(near="drop"), **given)
    mixing.mix([tmp_path / "a"], out=tmp_path / "m", **given)


def test_stain_statistics_are_those_of_the_drawn_patches(draw, tmp_path, made, images):
    draw(size=17, near="drop", stain_patches=100)
    found = json.loads((tmp_path / "m/stain_statistics.json").read_text())["cohorts"]
    files = sorted((made.parent / "source_b/train").glob("*.jpg"))
    pixels = [images.decoded(files[i].read_bytes()) for i in (0, 1, 2, 6, 7)]
    assert [found[name]["patches"] for name in "ab"] == [12, 5]
    for space, convert in (("lab", color.rgb2lab), ("hed", color.rgb2hed)):
        values = np.array([convert(each).reshape(-1, 3) for each in pixels])
        given = found["b"][space]
        np.testing.assert_allclose(given["mean_of_means"], values.mean((0, 1)), atol=1e-3)
        np.testing.assert_allclose(given["mean_of_stds"], values.std(1).mean(0), atol=1e-3)


def test_stain_statistics_of_a_sample_are_those_of_the_rows_picked(draw, made, tmp_path, images):
    draw("a", size=12, stain_patches=3)
    found = json.loads((tmp_path / "m/stain_statistics.json").read_text())["cohorts"]["a"]
    picked = drawing.choose(12, 3, seed=0, cohort="a")
    assert picked.tolist() != [0, 1, 2]
    files = sorted((made.parent / "source_a/train").rglob("*.jpg"))
    values = [color.rgb2lab(images.decoded(files[i].read_bytes())) for i in picked]
    expected = np.mean(values, axis=(0, 1, 2))
    np.testing.assert_allclose(found["lab"]["mean_of_means"], expected, atol=1e-3)


def test_croissant_names_every_licence(draw, tmp_path):
    draw()
    croissant = json.loads((tmp_path / "m/croissant.json").read_text())
    assert croissant["license"] == "CC0-1.0; CC-BY-NC-4.0"


def test_stain_statistics_of_a_sample_depend_on_the_seed_alone(draw, tmp_path):
    texts = []
    for out in "mn":
        draw(size=17, near="drop", stain_patches=3, out=out)
        texts.append((tmp_path / out / "stain_statistics.json").read_text())
    assert texts[0] == texts[1]
    assert '"patches": 3' in texts[0]


def test_damaged_record_is_named_and_no_mix_left(made, tmp_path):
    shutil.copytree(made / "a", tmp_path / "a")
    shard = next((tmp_path / "a/1.0.0").glob("*tfrecord*"))
    data = bytearray(shard.read_bytes())
    data[500] ^= 255
    shard.write_bytes(data)
    given = {"size": 12, "draw": "even", "px": None, "seed": 0}
    with pytest.raises(InputError, match="offset 12: record fails its checksum"):
        mixing.mix([tmp_path / "a"], out=tmp_path / "m", stain_patches=20, **given)
    assert not (tmp_path / "m").exists()


def test_no_path_of_this_machine_is_in_the_rules(draw, tmp_path):
    exclude = listed(tmp_path, "kind,name\nslide,s1\n")
    info, _ = draw(exclude=exclude, near="report")
    assert str(tmp_path) not in json.dumps(info)


def test_fingerprint_of_a_copy_is_near(images):
    """What the pictures above rest on."""
    pixels = images.pixels(64, 64, 0)
    copy = images.decoded(images.encode(pixels, quality=30))
    assert (image_hash.perceptual(pixels) ^ image_hash.perceptual(copy)).bit_count() <= 4
