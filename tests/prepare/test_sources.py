import pytest

from histo_simclr.errors import InputError
from histo_simclr.prepare import sources
from histo_simclr.prepare.item import Item

DEFAULTS = Item("", "", split="train", stain="H&E", mpp=0.5)


def items(source, pattern="", labels=""):
    walk = sources.open_source(str(source), defaults=DEFAULTS, pattern=pattern, labels=str(labels))
    assert list(walk()) == list(walk())  # a walk can be repeated
    return list(walk())


def csv(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def test_folder_gives_images_of_any_case_sorted_and_nothing_else(tmp_path, images):
    names = ["b/2.JPG", "b/1.png", "a.TIF", "c/d/e.bmp", "c/x.Jpeg"]
    others = ["notes.txt", ".hidden.jpg", "b/._1.png", "c/d/slide.svs"]
    images.tree(tmp_path, dict.fromkeys(names + others, b"x"))
    found = items(tmp_path)
    assert [item.name for item in found] == sorted(names)
    assert found[0].data == str(tmp_path / "a.TIF")
    assert (found[0].split, found[0].stain, found[0].mpp) == ("train", "H&E", 0.5)


def test_link_to_a_folder_above_does_not_trap(tmp_path, images):
    images.tree(tmp_path, {"a/1.png": b"x"})
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    assert [item.name for item in items(tmp_path)] == ["a/1.png"]


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        ("{label}/{slide}_{}.jpg", "tumor/S1_07_3.jpg", {"label": "tumor", "slide": "S1_07"}),
        ("{split}/{group}-*.png", "test/P9-1.png", {"split": "test", "patient": "P9"}),
        ("**/{label}/*", "a/b/normal/1.png", {"label": "normal"}),
        ("**/{label}/*", "normal/1.png", {"label": "normal"}),
        ("x+({label}).png", "x+(a).png", {"label": "a"}),
        ("{split:train|test}{slide}.bmp", "testA_1.bmp", {"split": "test", "slide": "A_1"}),
        ("{label}-{slide:1|10}{:a|b+}.png", "x-10b+.png", {"label": "x", "slide": "10"}),
    ],
)
def test_pattern_gives_fields(pattern, path, expected):
    assert sources.compile_pattern(pattern).fullmatch(path).groupdict() == expected


def test_pattern_does_not_cross_folders():
    assert sources.compile_pattern("{label}/*.png").fullmatch("a/b/1.png") is None


def test_choice_takes_nothing_else():
    pattern = sources.compile_pattern("{split:train|test}_*{:.png|.bmp}")
    assert pattern.fullmatch("val_1.png") is None
    assert pattern.fullmatch("train_1xpng") is None


def test_only_makes_other_files_as_if_not_there(tmp_path, images):
    images.tree(tmp_path, {"a/40X/1.png": b"x", "a/400X/1.png": b"x", "40X.png": b"x"})
    walk = sources.open_source(
        str(tmp_path), defaults=DEFAULTS, pattern="{label}/**", labels="", only="**/40X/*"
    )
    assert [(item.name, item.label, item.reason) for item in walk()] == [("a/40X/1.png", "a", "")]


def test_pattern_of_a_tfds_set_needs_its_file_names(prepare, images, tmp_path):
    source = images.tree(tmp_path / "in", {"1.png": images.encode(images.pixels(32, 32), "PNG")})
    with pytest.raises(InputError, match="--pattern reads the feature `filename`"):
        items(prepare(source), pattern="{label}_*")


def test_bad_choice_of_files_names_its_flag(tmp_path):
    with pytest.raises(InputError, match="--only {labels}: no field 'labels'; use label"):
        sources.open_source(
            str(tmp_path), defaults=DEFAULTS, pattern="", labels="", only="{labels}"
        )


def test_only_is_for_folders(tmp_path):
    path = csv(tmp_path / "list.csv", "path\n1.png\n")
    for source, labels in ((path, ""), (tmp_path, str(path))):
        with pytest.raises(InputError, match="--only chooses among the files of a folder"):
            sources.open_source(str(source), defaults=DEFAULTS, pattern="", labels=labels, only="*")


def test_path_that_does_not_match_is_left_out_with_the_reason(tmp_path, images):
    images.tree(tmp_path, {"a/1.png": b"x", "stray.png": b"x"})
    first, second = items(tmp_path, pattern="{label}/*")
    assert (first.label, first.reason) == ("a", "")
    assert second.reason == "path does not match the pattern"


@pytest.mark.parametrize(
    ("pattern", "says"),
    [("{lable}/*", "no field 'lable'.*use label"), ("{slide}/{slide}_*", "slide twice")],
)
def test_bad_pattern_is_refused(pattern, says):
    with pytest.raises(InputError, match=says):
        sources.compile_pattern(pattern)


def test_csv_gives_fields_beside_defaults(tmp_path, images):
    images.tree(tmp_path, {"img/1.png": b"x", "img/2.png": b"x"})
    # A byte order mark and capitals, as spreadsheets write them.
    text = "\ufeffPath,Label,group,mpp,stain,other\nimg/1.png,a,P1,0.25,IHC,7\nimg/2.png,b,,,,\n"
    first, second = items(csv(tmp_path / "list.csv", text))
    assert first == DEFAULTS._replace(
        name="img/1.png",
        data=str(tmp_path / "img/1.png"),
        label="a",
        patient="P1",
        mpp=0.25,
        stain="IHC",
    )
    assert (second.label, second.patient, second.mpp, second.stain) == ("b", "", 0.5, "H&E")


@pytest.mark.parametrize("place", ["beside the source", "in another folder"])
def test_paths_are_relative_to_the_source_or_to_the_csv(tmp_path, images, place):
    images.tree(tmp_path, {"data/1.png": b"x", "lists/readme.txt": b"x"})
    name = "data/1.png" if place == "beside the source" else "1.png"
    folder = tmp_path if place == "beside the source" else tmp_path / "lists"
    labels = csv(folder / "labels.csv", f"path,label\n{name},a\n")
    (item,) = items(tmp_path / "data", labels=labels)
    assert (tmp_path / "data/1.png").samefile(item.data)
    assert item.name == name


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("file,label\n1.png,a\n", "no column `path` among: file, label"),
        ("paths,label\n1.png,a\n", "rename paths"),
        ("path,label\n", "no rows"),
        ("", "no column `path` among: nothing"),
        ("path,mpp\n1.png,half\n", "list.csv:2: mpp is 'half'"),
        ("path,mpp\n1.png,nan\n", "mpp is 'nan'"),
        ("path,mpp\n1.png,-1\n", "mpp is '-1'"),
        ("path,label\n1.png,a\n,b\n", "list.csv:3: empty path"),
        ("path\n../1.png\n", "outside"),
        ('path\n"1.png\n', "not a readable CSV"),
    ],
)
def test_bad_csv_is_refused_naming_the_line(tmp_path, text, says):
    path = csv(tmp_path / "list.csv", text)
    with pytest.raises(InputError, match=says):
        items(path)


def test_csv_of_bytes_that_are_no_text_is_refused(tmp_path):
    (tmp_path / "list.csv").write_bytes(b"path\n\xff\xfe\x00.png\n")
    with pytest.raises(InputError, match="not a readable CSV"):
        items(tmp_path / "list.csv")


@pytest.mark.parametrize(
    ("source", "given", "says"),
    [
        ("missing", {}, "no such folder or CSV file"),
        ("list.csv", {"pattern": "{label}/*"}, "this is none"),
        (".", {"pattern": "{label}/*", "labels": "list.csv"}, "give one of them"),
        (".", {"labels": "missing.csv"}, "missing.csv: not a readable CSV"),
    ],
)
def test_source_that_does_not_suit_is_refused(tmp_path, source, given, says):
    csv(tmp_path / "list.csv", "path\n1.png\n")
    with pytest.raises(InputError, match=says):
        items(tmp_path / source, **given)


def test_several_sources_lead_their_names(tmp_path, images):
    images.tree(tmp_path, {"a/1.png": b"x", "b/1.png": b"x", "c/a/1.png": b"x"})

    def walk(*names):
        given = {"defaults": DEFAULTS, "pattern": "", "labels": ""}
        return sources.open_sources([str(tmp_path / name) for name in names], **given)()

    assert [item.name for item in walk("a", "b")] == ["a/1.png", "b/1.png"]
    with pytest.raises(InputError, match="two sources are named 'a'"):
        walk("a", "c/a")


def test_tfds_folder_gives_stored_bytes_class_names_and_splits(tmp_path, images):
    import tensorflow as tf
    import tensorflow_datasets as tfds

    data = {
        "train": [(images.encode(images.pixels(16, 16, i)), "ab"[i % 2]) for i in range(3)],
        "test": [(images.encode(images.pixels(16, 16, 9), "PNG"), "b")],
    }

    features = tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(shape=(16, 16, 3)),
            "label": tfds.features.ClassLabel(names=["b", "a"]),
            "patient": tfds.features.Text(),
        }
    )
    folder = tmp_path / "tiny_set" / "1.0.0"
    folder.mkdir(parents=True)
    for split, examples in data.items():
        with tf.io.TFRecordWriter(f"{folder}/tiny_set-{split}.tfrecord-00000-of-00001") as writer:
            for image, label in examples:
                values = {"image": image, "label": label, "patient": f"{split}{label}"}
                writer.write(features.serialize_example(features.encode_example(values)))
    tfds.folder_dataset.write_metadata(data_dir=folder, features=features, check_data=False)
    found = items(folder)
    assert {(item.data, item.label, item.split, item.patient) for item in found} == {
        (image, label, split, f"{split}{label}") for split in data for image, label in data[split]
    }
    assert [item.name for item in found if item.split == "train"] == [
        f"train/{number:07d}" for number in range(3)
    ]


def test_unknown_tfds_name_is_refused():
    with pytest.raises(InputError, match="tfds:no_such_set: TFDS cannot provide it"):
        items("tfds:no_such_set")
