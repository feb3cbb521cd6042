"""Property tests of the parsers of users' files, by hypothesis.

The same examples in every run. To search for new ones: FUZZ_EXAMPLES=5000 pytest tests/fuzz
"""

import csv
import io
import json
import os
import pickle
import struct
import zipfile
from collections import Counter
from pathlib import Path

import hypothesis
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import safetensors.numpy
from hypothesis import strategies as st
from PIL import Image

from histo_simclr.prepare import plan_file, registry
from histo_simclr.weights import torch_file

SETTINGS = hypothesis.settings(
    max_examples=int(os.environ.get("FUZZ_EXAMPLES", "200")),
    derandomize="FUZZ_EXAMPLES" not in os.environ,
    database=None,
    deadline=20_000,  # ms: what takes longer hangs
    suppress_health_check=list(hypothesis.HealthCheck),
)
# What numbers, names and shares look like when they are wrong.
ODD = [
    "",
    " ",
    "0",
    "-1",
    "1e6",
    "1e999",
    "nan",
    "-inf",
    "1_0",
    "٣",
    "x",
    "a\nb",
    "\x1b[2J",
    '"',
    ",",
]


@pytest.fixture(scope="module")
def parsers(module_at):
    """The module parsers.py beside this file."""
    return module_at(Path(__file__).with_name("parsers.py"))


@pytest.fixture
def hold(tmp_path):
    """hold(parse, name, contents): parse(file) for each of the contents; both outcomes occur."""

    def run(parse, name, contents):
        outcomes = Counter()

        @SETTINGS
        @hypothesis.given(contents)
        def check(content):
            (tmp_path / name).write_bytes(content)
            outcomes[parse(tmp_path / name)] += 1

        check()
        assert set(outcomes) == {False, True}

    return run


def damaged(*whole: bytes) -> st.SearchStrategy[bytes]:
    """One of these files with a few pieces of it changed, cut out, put in, or doubled."""
    piece = st.binary(max_size=4) | st.sampled_from([each.encode() for each in ODD])
    edit = st.tuples(st.floats(0, 1), st.sampled_from([0, 1, 1, 4, 200]), piece, st.booleans())

    def apply(data: bytes, edits) -> bytes:
        for place, length, new, is_doubled in edits:
            at = int(place * len(data))
            kept = data[at : at + length] if is_doubled else b""
            data = data[:at] + kept + new + kept + data[at + length :]
        return data

    return st.builds(apply, st.sampled_from(whole), st.lists(edit, max_size=4))


def csv_of(header: list[str], cells: dict[str, st.SearchStrategy[str]]) -> st.SearchStrategy[bytes]:
    """CSV files with these columns and values of these strategies, a column missing or twice."""
    row = st.tuples(*(cells[name] for name in header))

    def write(rows, columns) -> bytes:
        file = io.StringIO()
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([header[number] for number in columns])
        writer.writerows([row[number] for number in columns] for row in rows)
        return file.getvalue().encode()

    all_columns = st.just(list(range(len(header))))
    some_columns = st.lists(st.integers(0, len(header) - 1), min_size=1)
    columns = st.one_of(all_columns, all_columns, all_columns, some_columns)
    return st.builds(write, st.lists(row, max_size=6), columns)


def mostly(*usual: str) -> st.SearchStrategy[str]:
    """These, and now and then what is wrong."""
    return st.sampled_from([*usual] * max(1, 60 // len(usual)) + ODD)


CELLS = {
    "wsi": mostly("a.svs", "b/c.svs", "d.svs"),
    "slide": mostly("a", "c", "d"),
    "x": mostly("0", "1", "2", "3", "9007199254740993", "-5"),
    "y": mostly("0", "1", "2", "3"),
    "mpp": mostly("0.5", "1.0"),
    "px": mostly("224"),
    "tissue": mostly("0.75", "1"),
    "mpp_x": mostly("0.25"),
    "mpp_y": mostly("0.25"),
    "quickhash": mostly("q"),
}


@pytest.fixture(scope="module")
def whole_plan():
    """A right plan of two slides, as columns."""
    plan = {"wsi": ["a.svs"] * 3 + ["b.svs"], "slide": ["a"] * 3 + ["b"], "x": [0, 9, 18, 0]}
    plan |= {"y": [0] * 4, "mpp": [0.5] * 4, "px": [224] * 4, "tissue": [0.75] * 4}
    plan |= {"mpp_x": [0.25] * 4, "mpp_y": [0.25] * 4, "quickhash": ["q"] * 4}
    return plan


def test_plans_as_csv(hold, parsers, whole_plan):
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(whole_plan)
    writer.writerows(zip(*whole_plan.values(), strict=True))
    tables = csv_of(plan_file.SCHEMA.names, CELLS)
    hold(parsers.plan, "plan.csv", tables | damaged(file.getvalue().encode()))


def test_plans_as_parquet(hold, parsers, whole_plan):
    def write(changed, row_group) -> bytes:
        columns = {
            name: pyarrow.array(values, plan_file.SCHEMA.field(name).type)
            for name, values in whole_plan.items()
        }
        file = io.BytesIO()
        table = pyarrow.table(columns | changed)
        pyarrow.parquet.write_table(table, file, row_group_size=row_group)
        return file.getvalue()

    def four(values):
        return st.lists(values, min_size=4, max_size=4).map(pyarrow.array)

    strange = st.one_of(
        four(st.none() | st.integers(-(2**63), 2**63 - 1)),
        four(st.floats(width=32)),
        four(st.sampled_from(["a.svs", "b.svs", "", "a\nb", "1", "0.5"])),
        four(st.binary(max_size=3)),
        st.lists(st.binary(max_size=3), min_size=4, max_size=4).map(_text_of_any_bytes),
        four(st.lists(st.integers(0, 3), max_size=2)),
        four(st.datetimes()),
        four(st.fixed_dictionaries({"k": st.integers(0, 3)})),
        four(st.sampled_from(["a.svs", "b.svs"])).map(pyarrow.Array.dictionary_encode),
    )
    names = st.sampled_from(plan_file.SCHEMA.names)
    changes = st.dictionaries(names, strange, max_size=2)
    tables = st.builds(write, changes, st.integers(1, 5))
    hold(parsers.plan, "plan.parquet", tables | damaged(write({}, 3)))


def _text_of_any_bytes(values: list[bytes]) -> pyarrow.Array:
    """A column that is said to be UTF-8, as other tools may write it."""
    raw = pyarrow.array(values, pyarrow.binary())
    return pyarrow.Array.from_buffers(pyarrow.string(), len(raw), raw.buffers())


NUMBER = st.one_of(
    st.integers(-10, 420),
    st.integers(-10, 420),
    st.floats(),
    st.sampled_from([1e308, -1e308, 1e-320, 10**400, True, None, "1", [], {}]),
)
RING = st.lists(st.lists(NUMBER, min_size=2, max_size=3), max_size=6).map(
    lambda ring: [*ring, *ring[:1]]
)
CLEAN_RING = st.lists(
    st.tuples(st.integers(-10, 420), st.integers(-10, 420)).map(list), min_size=3, max_size=8
).map(lambda ring: [*ring, ring[0]])
POLYGON = st.lists(CLEAN_RING | RING, max_size=3)
ANY_JSON = st.recursive(
    st.none() | st.booleans() | NUMBER | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)
GEOMETRY = st.one_of(
    st.fixed_dictionaries({"type": st.just("Polygon"), "coordinates": POLYGON}),
    st.fixed_dictionaries({"type": st.just("MultiPolygon"), "coordinates": st.lists(POLYGON)}),
    st.fixed_dictionaries({"type": st.just("Polygon"), "coordinates": ANY_JSON}),
    ANY_JSON,
)
NAME = st.sampled_from(["Tissue", "Artefact", "Ignore*"]) | ANY_JSON
PROPERTIES = (
    st.fixed_dictionaries(
        {}, optional={"classification": NAME | st.builds(lambda name: {"name": name}, NAME)}
    )
    | ANY_JSON
)
FEATURE = st.fixed_dictionaries({"geometry": GEOMETRY}, optional={"properties": PROPERTIES})
FEATURES = st.lists(FEATURE | ANY_JSON, max_size=4)


def test_geojson(hold, parsers):
    square = [[[20, 20], [220, 20], [220, 220], [20, 220], [20, 20]]]
    bow_tie = [[[20, 20], [220, 220], [220, 20], [20, 220], [20, 20]]]
    whole = [
        {"geometry": {"type": "Polygon", "coordinates": each}, "properties": {}}
        for each in (square, bow_tie)
    ]
    documents = st.one_of(
        FEATURE, FEATURES, st.builds(lambda each: {"features": each}, FEATURES), ANY_JSON
    )
    texts = documents.map(lambda document: json.dumps(document).encode())
    hold(parsers.region, "a.geojson", texts | damaged(json.dumps(whole).encode()))


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_masks(hold, parsers, kind):
    def write(mode, size, value) -> bytes:
        file = io.BytesIO()
        Image.new(mode, size, value).save(file, kind)
        return file.getvalue()

    modes = ["1", "L", "P", "LA", "RGB", "RGBA", "I;16"] + ["F", "CMYK"] * (kind == "TIFF")
    sizes = st.sampled_from([(40, 30), (4, 3), (1, 1), (400, 300)])
    sizes |= st.tuples(st.integers(1, 50), st.integers(1, 50))
    images = st.builds(write, st.sampled_from(modes), sizes, st.sampled_from([0, 1]))
    pixels = np.random.default_rng(0).integers(0, 2, (30, 40), np.uint8)
    whole = io.BytesIO()
    Image.fromarray(pixels).save(whole, kind)
    suffix = {"PNG": "png", "TIFF": "tif"}[kind]
    hold(parsers.region, f"a.{suffix}", images | damaged(whole.getvalue()))


def test_mpp_tables(hold, parsers):
    cells = {"wsi": mostly("a.svs", "b.svs", "c"), "mpp": mostly("0.25", "0.5"), "note": mostly("")}
    tables = csv_of(list(cells), cells) | damaged(b"wsi,mpp\na.svs,0.25\nb.svs,0.5\n")
    hold(parsers.mpp_table, "mpp.csv", tables)


def test_registries(hold, parsers):
    whole = registry.REGISTRY.read_bytes()
    lines = whole.splitlines(keepends=True)
    names = [line.split(b",")[0] for line in lines]

    def renamed(line, name, change) -> bytes:
        """One cohort under another's name, in another spelling."""
        rest = lines[line][len(names[line]) :]
        return b"".join([*lines[:line], change(names[name]) + rest, *lines[line + 1 :]])

    places = st.integers(1, len(lines) - 1)
    changes = st.sampled_from([bytes.lower, lambda name: name.replace(b"-", b"_"), bytes])
    contents = damaged(whole) | st.builds(renamed, places, places, changes)
    hold(parsers.registry_file, "datasets.csv", contents)


WRONG_CELLS = ["0_5", "٢٠", "two words", "ftp://host/a", "https://", "free", "CC-BY-4.0 or so"]
WRONG_CELLS += ["http://host/file", "s3://bucket; rm -rf /", "zenodo:$(reboot)", "git:a"]


@pytest.fixture(scope="module")
def torch_parts(tmp_path_factory):
    """Of a small torch file: its pickle, its storages, and the file itself."""
    path = tmp_path_factory.mktemp("torch") / "a.pt"
    rng = np.random.default_rng(0)
    tensors = {
        "conv1.weight": rng.normal(size=(2, 3, 2, 2)).astype(np.float32),
        "fc.bias": np.ones(3),
    }
    torch_file.write(path, tensors)
    with zipfile.ZipFile(path) as archive:
        return archive.read("archive/data.pkl"), [*tensors.values()], path.read_bytes()


# Opcodes that take from the stack, and names that must not be followed.
OPCODES = [b"(", b"t", b"R", b"}", b"u", b"s", b"Q", b"0", b"2", b"b", b"\x81", b"\x93", b"\x85"]
OPCODES += [b"q\x01", b"h\x01", b"N", b"K\x00", b"cos\nsystem\n", b"cbuiltins\ndict\n", b"."]


def edited(pickled: bytes) -> st.SearchStrategy[bytes]:
    """This pickle with opcodes put in or in place of others, or damaged anyhow."""
    edits = st.lists(
        st.tuples(st.floats(0, 1), st.sampled_from(OPCODES), st.integers(0, 3)), max_size=3
    )

    def apply(edits) -> bytes:
        data = pickled
        for place, new, length in edits:
            at = int(place * len(data))
            data = data[:at] + new + data[at + length :]
        return data

    return st.builds(apply, edits) | damaged(pickled)


def test_torch_files_of_any_pickle(hold, parsers, torch_parts):
    pickled, storages, whole = torch_parts

    def archive(data: bytes) -> bytes:
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as members:
            members.writestr("archive/data.pkl", data)
            for number, array in enumerate(storages):
                members.writestr(f"archive/data/{number}", array.tobytes())
        return file.getvalue()

    hold(parsers.weights, "a.pt", edited(pickled).map(archive) | damaged(whole))


def test_torch_files_of_before_version_1_6(hold, parsers, torch_parts):
    pickled, storages, _ = torch_parts
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}
    head = [0x1950A86A20F9469CFC6C, 1001, system]
    before = b"".join(pickle.dumps(each, protocol=2) for each in head)
    keys = pickle.dumps([str(number) for number in range(len(storages))], protocol=2)
    behind = b"".join(struct.pack("<q", each.size) + each.tobytes() for each in storages)
    files = st.builds(lambda body: before + body + keys + behind, edited(pickled))
    hold(parsers.weights, "a.pt", files | damaged(before + pickled + keys + behind))


def test_safetensors_and_npz(hold, parsers, torch_parts):
    storages = {f"layer.{number}": each for number, each in enumerate(torch_parts[1])}
    file = io.BytesIO()
    np.savez(file, **storages)
    contents = damaged(safetensors.numpy.save(storages)) | damaged(file.getvalue())
    hold(parsers.weights, "a.safetensors", contents)


def test_rows_of_the_registry(parsers):
    with registry.REGISTRY.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    seen = {name: sorted({row[name] for row in rows}) for name in rows[0]}
    columns = st.sampled_from(list(seen))
    wrong = st.sampled_from(WRONG_CELLS)
    values = columns.flatmap(
        lambda name: st.tuples(st.just(name), mostly(*seen[name]) | st.text(max_size=6) | wrong)
    )
    outcomes = Counter()

    @SETTINGS
    @hypothesis.given(st.sampled_from(rows), st.lists(values, max_size=4))
    def check(row, changes):
        outcomes[parsers.row_of_the_registry(row | dict(changes))] += 1

    check()
    assert set(outcomes) == {False, True}


ENTRIES = st.builds(
    "{}{}{}".format,
    st.sampled_from(["a", "b", "gland", "ignore", "", " a ", "\x00", "é"]),
    st.sampled_from(["", "=", "=="]),
    st.one_of(
        st.sampled_from(["", "0", "1", "2-9", "1-65535", "9-2", "#ff0000", "#FF00001", "-", *ODD]),
        st.integers(-9, 10**12).map(str),
        st.just("9" * 5000),
    ),
)


@SETTINGS
@hypothesis.given(st.one_of(st.text(max_size=40), st.lists(ENTRIES, max_size=5).map(",".join)))
def test_any_mask_classes_are_understood_or_refused(parsers, text):
    parsers.mask_classes(text)
