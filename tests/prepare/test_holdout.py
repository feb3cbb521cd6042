import json
import random

import pytest

from histo_simclr import records
from histo_simclr.errors import InputError
from histo_simclr.prepare import holdout
from histo_simclr.prepare.item import Item


def patients(images=10, count=20, label_of=lambda patient: "ab"[patient % 2]):
    return [
        Item(f"{patient}/{i}", "", label=label_of(patient), split="train", patient=f"P{patient}")
        for patient in range(count)
        for i in range(images)
    ]


def split_of(items, share=0.2):
    walk = holdout.with_holdout(lambda: iter(items), share, "source")
    assert list(walk()) == list(walk())
    return {item.name: item.split for item in walk()}


def test_patients_stay_whole_and_classes_keep_their_share():
    items = patients()
    split = split_of(items)
    sides = {}
    for item in items:
        sides.setdefault(item.patient, set()).add(split[item.name])
    assert all(len(side) == 1 for side in sides.values())
    for label in "ab":
        held = [split[item.name] == "test" for item in items if item.label == label]
        assert sum(held) == 20  # 2 of 10 patients of 10 images


def test_slide_is_the_group_where_no_patient_is_known():
    items = [Item(f"{i}", "", split="train", slide=f"S{i // 6}") for i in range(60)]
    split = split_of(items)
    test = {name for name, side in split.items() if side == "test"}
    assert len(test) == 12
    assert all(str(6 * (int(name) // 6) + i) in test for name in test for i in range(6))


def test_images_are_held_out_of_each_class_where_no_group_is_known():
    items = [Item(f"{i}", "", label="ab"[i >= 40], split="train") for i in range(50)]
    split = split_of(items)
    held = [int(name) for name, side in split.items() if side == "test"]
    assert (sum(i < 40 for i in held), sum(i >= 40 for i in held)) == (8, 2)


@pytest.mark.parametrize("known", [True, False])
def test_split_depends_on_names_not_on_their_order(known):
    items = [item if known else item._replace(patient="") for item in patients()]
    shuffled = random.Random(0).sample(items, len(items))
    assert split_of(items) == split_of(shuffled)


def test_train_keeps_a_class_that_one_patient_has_alone():
    items = patients(label_of=lambda patient: "rare" if patient == 3 else "common")
    split = split_of(items)
    assert {split[item.name] for item in items if item.label == "rare"} == {"train"}
    assert sum(side == "test" for side in split.values()) > 20


def test_rejected_images_decide_nothing():
    items = patients()
    others = [Item("bad", "", label="c", split="train", patient="P0", reason="unreadable")]
    both = split_of(items + others)
    assert {name: both[name] for name in split_of(items)} == split_of(items)


@pytest.mark.parametrize(
    ("items", "share", "says"),
    [
        (patients(), 1.0, "--holdout: 1; give a share"),
        ([Item("x", "", split="test")], 0.2, r"split anew what is in split test \(x\)"),
        (patients(count=1), 0.2, "1 patient, slide or image to hold"),
        (patients(count=2), 0.2, "none of 2 patients, slides or images can be held out: a class"),
        ([Item("x", "", split="train")], 0.2, "1 patient, slide or image to hold"),
    ],
)
def test_what_cannot_be_held_out_is_one_clear_line(items, share, says):
    with pytest.raises(InputError, match=says):
        split_of(items, share)


def test_record_set_has_the_split_and_says_how(prepare, images, tmp_path):
    names = [f"{label}/S{number}_{i}.jpg" for label in "ab" for number in range(5) for i in "12"]
    data = {name: images.encode(images.pixels(32, 32, i)) for i, name in enumerate(names)}
    source = images.tree(tmp_path / "source", data)
    path = prepare(source, pattern="{label}/{slide}_{}.jpg", held_out=0.2, name="held out")
    info = json.loads((path / "record_set.json").read_text())
    assert info["settings"]["holdout"] == 0.2
    assert "--holdout 0.2" in (path / "README.md").read_text()
    train, test = (records.load_record_set(path, split).columns for split in ("train", "test"))
    assert len(train["key"]) == 16
    assert len(test["key"]) == 4
    assert not set(train["slide"]) & set(test["slide"])


def test_without_a_holdout_nothing_speaks_of_it(prepare, images, tmp_path):
    source = images.tree(tmp_path / "source", {"1.jpg": images.encode(images.pixels(32, 32))})
    path = prepare(source)
    for name in ("record_set.json", "README.md"):
        assert "holdout" not in (path / name).read_text()
        assert "only" not in json.loads((path / "record_set.json").read_text())["settings"]
