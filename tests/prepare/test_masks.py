import argparse
import csv
import io

import numpy as np
import pytest
from PIL import Image

from histo_simclr import records
from histo_simclr.errors import InputError
from histo_simclr.input import reader
from histo_simclr.prepare import masks, write
from histo_simclr.prepare.patches import BadImageError

SIDE = 48


def png(pixels, mode=None):
    buffer = io.BytesIO()
    Image.fromarray(pixels, mode).save(buffer, "PNG")
    return buffer.getvalue()


def classes_of(number):
    """(SIDE, SIDE) uint8 of classes 0 to 2, of another pattern for each number."""
    rows, columns = np.indices((SIDE, SIDE)) // 8
    return ((rows + columns * number) % 3).astype(np.uint8)


@pytest.fixture
def tissue(tmp_path, images):
    """Four images in train/ and test/, their masks in a folder beside."""
    files = {}
    for number in range(4):
        place = f"{'train' if number < 2 else 'test'}/{number}"
        files[f"images/{place}.png"] = images.encode(images.pixels(SIDE, SIDE, number), "PNG")
        files[f"masks/{place}.png"] = png(classes_of(number))
    return images.tree(tmp_path / "tissue", files)


@pytest.fixture
def prepare_masked(prepare, tissue):
    """Record set of the images of `tissue`, split by folder."""

    def call(**given):
        settings = {"masks": "../masks/{folder}/{stem}.png", "mask_classes": "a,b,c", "px": SIDE}
        settings |= {"pattern": "{split}/*"} | given
        return prepare(tissue / "images", **settings)

    return call


def read_all(path, split):
    rows = records.load_record_set(path, split).rows
    order = np.arange(len(rows))
    return next(reader.read_masked(rows, lambda _: order, start=0, stop=1))


def test_masks_come_back_beside_their_images(prepare_masked, images):
    path = prepare_masked(encoding="png")
    assert records.load_record_set(path, "train").mask_class_names == ["a", "b", "c"]
    assert "| classes of masks | a, b, c |" in (path / "README.md").read_text()
    for split, numbers in (("train", (0, 1)), ("test", (2, 3))):
        patches, found = read_all(path, split)
        for index, number in enumerate(numbers):
            np.testing.assert_array_equal(patches[index], images.pixels(SIDE, SIDE, number))
            np.testing.assert_array_equal(found[index], classes_of(number))


def test_tfds_reads_the_masks(prepare_masked):
    import tensorflow_datasets as tfds

    builder = tfds.builder_from_directory(prepare_masked())
    assert builder.info.features["mask"].shape == (SIDE, SIDE, 1)
    examples = list(builder.as_dataset(split="test", as_supervised=True).as_numpy_iterator())
    np.testing.assert_array_equal(examples[1][1][..., 0], classes_of(3))


@pytest.mark.parametrize("px", [16, 32])
def test_masks_are_cut_and_resampled_with_their_images(prepare_masked, images, px):
    path = prepare_masked(px=px, cut=16, encoding="png")
    patches, found = read_all(path, "train")
    assert len(patches) == 2 * 9
    whole = classes_of(0)
    expected = np.asarray(Image.fromarray(whole[16:32, 32:48]).resize((px, px), 0))
    np.testing.assert_array_equal(found[5], expected)
    part = Image.fromarray(images.pixels(SIDE, SIDE, 0)[16:32, 32:48])
    resized = part.resize((px, px), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(patches[5], np.asarray(resized))


def test_set_without_masks_has_none_anywhere(prepare, tissue):
    path = prepare(tissue / "images", pattern="{split}/*", px=SIDE)
    assert records.load_record_set(path, "train").mask_class_names is None
    for name in ("features.json", "record_set.json", "README.md", "manifest.parquet"):
        assert b"mask" not in (path / name).read_bytes(), name


def test_reading_masks_that_are_not_there_is_one_clear_line(prepare, tissue):
    path = prepare(tissue / "images", pattern="{split}/*", px=SIDE)
    with pytest.raises(InputError, match="record is sound, but holds no mask that decodes"):
        read_all(path, "train")


def test_masks_between_the_images_are_no_images(prepare, tmp_path, images):
    files = {"a.png": images.encode(images.pixels(SIDE, SIDE), "PNG")}
    files |= {"a_anno.png": png(classes_of(1))}
    source = images.tree(tmp_path / "glas", files)
    template = "{folder}/{stem}_anno.png"
    path = prepare(source, masks=template, mask_classes="a,b,c", px=SIDE)
    assert records.load_record_set(path, "train").columns["source"].tolist() == ["a.png"]
    np.testing.assert_array_equal(read_all(path, "train")[1][0], classes_of(1))


def test_csv_names_the_masks(prepare, tissue):
    table = "path,mask\nimages/train/0.png,masks/test/3.png\n"
    (tissue / "list.csv").write_text(table)
    path = prepare(tissue / "list.csv", mask_classes="a,b,c", px=SIDE)
    np.testing.assert_array_equal(read_all(path, "train")[1][0], classes_of(3))


def test_unusable_masks_are_left_out_counted_and_named(prepare_masked, tissue):
    place = tissue / "masks"
    (place / "train/1.png").write_bytes(png(classes_of(1)[:, :-1]))
    (place / "test/2.png").write_bytes(png(classes_of(2) * 7))
    with pytest.raises(InputError, match="more than 0.0% of 4 images.*--max-rejected"):
        prepare_masked()
    rejected = (prepare_masked(max_rejected=0.5) / "rejected.csv").read_text()
    reasons = dict(csv.reader(rejected.splitlines()))
    assert reasons["train/1.png"] == "mask of 47 x 48 px for an image of 48 x 48 px"
    assert reasons["test/2.png"] == "mask 2.png: values that --mask-classes does not name: 7, 14"


def test_missing_mask_is_named(prepare_masked, tissue):
    (tissue / "masks/test/3.png").unlink()
    with pytest.raises(InputError, match=r"test/3.png: mask 3.png: no such file"):
        prepare_masked()


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"mask_classes": ""}, "--masks: given without --mask-classes"),
        ({"masks": ""}, "no image has a mask"),
        ({"masks": "../masks/{name}.png"}, "does not say which mask is whose"),
        ({"mask_classes": "a"}, r"--mask-classes: 1 class\(es\)"),
        ({"mask_classes": "a,b=0"}, "a value belongs to two classes"),
        ({"mask_classes": "a=0-9,b=5"}, "a value belongs to two classes"),
        ({"mask_classes": "a=0,b=#ff0000"}, "numbers and colors together"),
        ({"mask_classes": "a=0,b=red"}, "'b=red' has no value, range or color"),
        ({"mask_classes": "a=0,b=9-3"}, "'b=9-3' has no value, range or color"),
        ({"mask_classes": "a=0,=3"}, "'=3' has no name that can be printed"),
    ],
)
def test_flags_that_cannot_be_meant_are_one_clear_line(prepare_masked, given, says):
    with pytest.raises(InputError, match=says):
        prepare_masked(**given)


def test_masks_of_whole_slides_are_refused(tmp_path):
    parser = argparse.ArgumentParser()
    write.add_arguments(parser)
    flags = ["--name", "x", "--out", str(tmp_path), "--slides", "--mpp", "1", "--mask-classes", "a"]
    with pytest.raises(InputError, match="masks of whole slides are not read"):
        write.run(parser.parse_args([str(tmp_path), *flags]))


NUMBERS = np.array([[0, 1, 2], [2, 1, 0]], np.uint8)


def palette_png():
    image = Image.fromarray(NUMBERS, "P")
    image.putpalette([9, 9, 9, 0, 0, 255, 255, 0, 0])
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


COLORS = np.array([[9, 9, 9], [0, 0, 255], [255, 0, 0]], np.uint8)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (png(NUMBERS), "x,y,z"),
        (png(np.stack([NUMBERS] * 3, -1)), "x,y,z"),
        (png(NUMBERS.astype(np.uint16) * 300), "x=0,y=300,z=301-65535"),
        (palette_png(), "x,y,z"),
        (palette_png(), "x=#090909,y=#0000FF,z=#ff0000"),
        (png(COLORS[NUMBERS]), "x=#090909,y=#0000ff,z=#ff0000"),
    ],
)
def test_numbers_palettes_and_colors_say_the_same(data, text):
    found = masks.class_numbers(data, masks.parse_classes(text))
    np.testing.assert_array_equal(found, NUMBERS)


def test_objects_and_ignored_pixels_have_their_class():
    classes = masks.parse_classes("nothing=0,nucleus=1-9,ignore=255,nucleus=20")
    assert classes.names == ("nothing", "nucleus")
    data = png(np.array([[0, 1, 9], [20, 255, 0]], np.uint8))
    found = masks.class_numbers(data, classes)
    np.testing.assert_array_equal(found, [[0, 1, 1], [1, 255, 0]])


@pytest.mark.parametrize(
    ("data", "text", "says"),
    [
        (png(COLORS[NUMBERS]), "x,y,z", "name the classes by color"),
        (png(COLORS[NUMBERS]), "x=#090909,y=#0000ff", "does not name: #ff0000"),
        (png(np.arange(256, dtype=np.uint8)[None]), "x,y", r"name: 2, 3, 4, 5, 6, …"),
        (b"no picture", "x,y", "not a PNG, TIFF or BMP image"),
        (png(classes_of(1))[:60], "x,y,z", "does not decode"),
    ],
)
def test_bad_masks_say_what_is_wrong(data, text, says):
    with pytest.raises(BadImageError, match=says):
        masks.class_numbers(data, masks.parse_classes(text))


def test_jpeg_is_a_mask_where_a_threshold_tells_two_classes_apart(images):
    drawn = np.kron(NUMBERS > 0, np.ones((11, 11), bool))
    data = images.encode((255 * drawn).astype(np.uint8), "JPEG", quality=60)
    assert len(np.unique(images.decoded(data))) > 2
    found = masks.class_numbers(data, masks.parse_classes("rest=0-127,tumor=128-255"))
    np.testing.assert_array_equal(found, drawn)


@pytest.mark.parametrize("text", ["x=0-126,y=128-255", "x=0,y=255", "x=0-9,y=10-99,x=100-255"])
def test_jpeg_is_no_mask_where_blur_could_make_another_value(images, text):
    with pytest.raises(BadImageError, match="not a PNG, TIFF or BMP image"):
        masks.class_numbers(images.encode(NUMBERS, "JPEG"), masks.parse_classes(text))


def test_jpeg_is_no_mask(images):
    with pytest.raises(BadImageError, match="not a PNG, TIFF or BMP image"):
        masks.class_numbers(images.encode(NUMBERS, "JPEG"), masks.parse_classes("x,y,z"))
