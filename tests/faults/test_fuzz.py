"""Random values in the configuration, random bytes in files: a cause in one line, or right results.

The same examples in every run; with --kills=N, 20 N others in each test.
"""

import json
import math
import shutil

import hypothesis
import jax
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from flax import nnx
from hypothesis import strategies as st

from histo_simclr import config as configs
from histo_simclr import mesh as meshes
from histo_simclr import records
from histo_simclr.errors import InputError
from histo_simclr.input import reader
from histo_simclr.model.simclr import SimCLR
from histo_simclr.pretrain import report, train
from histo_simclr.views import compose

MIX_ROWS = 36
ODD_NUMBERS = [0, -1, 1, 2, 3, 7, 1000, 2**31, 2**63, 2**64, -(2**70)]
ODD_FLOATS = [0.0, -1.0, 1.0, 0.5, 1e-308, 1e-30, 1e30, 1e308, math.nan, math.inf, -math.inf]
ODD_TEXTS = ["", " ", "x", "none", "\n", "\x1b[2J", "../..", "é", "0", "resnet18 "]


@pytest.fixture
def fuzz(request, tell):
    """fuzz(name, check, **strategies): many examples; an InputError of one line counts as right."""

    def run(title, check, few=20, **strategies):
        kills = request.config.getoption("--kills")
        refused, taken = 0, 0

        @hypothesis.settings(
            max_examples=20 * kills or few,
            derandomize=not kills,
            database=None,
            deadline=None,
            phases=[hypothesis.Phase.generate],  # to shrink one takes minutes
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        @hypothesis.given(**strategies)
        def one(**values):
            nonlocal refused, taken
            try:
                check(**values)
                taken += 1
            except InputError as error:
                _check_line(error)
                refused += 1

        one()
        tell("fuzz", title, f"{taken} right, {refused} refused in one line")

    return run


def _check_line(error: InputError) -> None:
    assert str(error).isprintable()
    assert error.what
    assert error.way_out


def _leaves(config, prefix="") -> dict[str, object]:
    found = {}
    for key, value in config.items():
        nested = hasattr(value, "items")
        found |= _leaves(value, f"{prefix}{key}.") if nested else {prefix + key: value}
    return found


# Not of numbers, or read before anything is checked.
PLACES = ("program", "note", "init_from", "data.mix", "evaluation.records", "online.records")
CONFIG = "configs/resnet18_mix.py"


def _values_like(value) -> st.SearchStrategy:
    if isinstance(value, bool):
        return st.booleans()
    if isinstance(value, int):
        return st.sampled_from(ODD_NUMBERS) | st.integers(-(2**65), 2**65)
    if isinstance(value, float):
        return st.sampled_from(ODD_FLOATS) | st.floats()
    if isinstance(value, str):
        return st.sampled_from(ODD_TEXTS) | st.text(max_size=5)
    items = st.sampled_from([*ODD_NUMBERS, *ODD_FLOATS, "x", None, ()])
    return st.lists(items, max_size=4).map(tuple) | st.tuples(*[st.floats(0, 2)] * len(value))


def _settings() -> st.SearchStrategy:
    leaves = _leaves(configs.load(CONFIG))
    keys = st.sampled_from([key for key in leaves if key not in PLACES])
    return keys.flatmap(lambda key: st.tuples(st.just(key), _values_like(leaves[key])))


@pytest.fixture(autouse=True)
def repository_root(monkeypatch, request):
    monkeypatch.chdir(request.config.rootpath)


def taken(key: str, value: object) -> None:
    """What a run does with a setting before it starts; InputError where it is refused."""
    config = configs.load(CONFIG)
    with config.ignore_type():
        config.update_from_flattened_dict({key: value})
    configs.check(config, devices=1, mix_px=96)
    plan = configs.plan(config, 3161)
    train.check_evaluation(config.evaluation)
    config.precision = meshes.compute_dtype(config.precision).name
    bound = train.recipe(config, plan)
    rates = np.array([bound["rate"](step) for step in (0, plan.warmup_steps, plan.total_steps)])
    assert np.isfinite(rates).all()
    assert (rates >= 0).all()
    px = config.data.px
    patches = jax.ShapeDtypeStruct((config.batch_size, px, px, 3), np.uint8)
    chances = jax.eval_shape(
        lambda: compose.chances(jax.random.key(config.seed), config.batch_size, count=2)
    )
    jax.eval_shape(bound["views"], chances, patches)
    nnx.eval_shape(lambda: SimCLR(**config.model, rngs=nnx.Rngs(config.seed)))


def test_values_of_the_configuration(fuzz):
    """What is taken gives finite rates, and views and a model that can be traced."""
    fuzz(
        "values of the configuration",
        lambda setting: taken(*setting),
        few=25,
        setting=_settings(),
    )


def damaged(data: bytes) -> st.SearchStrategy[bytes]:
    """These bytes with a few changed, cut out, or put in; or cut off."""
    place, whole = st.floats(0, 1, exclude_max=True), st.just(1.0)
    edit = st.tuples(place, st.sampled_from([0, 1, 1, 8]), st.binary(max_size=2))

    def apply(edits, end) -> bytes:
        changed = data[: int(len(data) * end)]
        for at, length, new in edits:
            at = int(at * len(changed))
            changed = changed[:at] + new + changed[at + length :]
        return changed

    return st.builds(apply, st.lists(edit, max_size=3), st.one_of(whole, whole, whole, place))


@pytest.fixture(scope="module")
def mixed(toy, tmp_path_factory):
    """A folder with a record set and a mix of it, the mix's pixels, and the record set."""
    from histo_simclr import cli

    folder = tmp_path_factory.mktemp("mixed")
    shutil.copytree(toy.parent, folder / "records")
    arguments = ["mix", folder / "records", "--out", folder / "mix", "--size", MIX_ROWS]
    assert cli.main([*map(str, arguments), "--px", "32", "--allow-overlap"]) == 0
    rows, _ = records.load_mix(folder / "mix")
    return folder, _pixels(rows), records.load_record_set(folder / "records/toy", "train")


def _pixels(rows: records.Rows) -> np.ndarray:
    (batch,) = reader.read(rows, lambda _: np.arange(MIX_ROWS), start=0, stop=1)
    return batch


def _fuzz_file(fuzz, file, check, name, few=20):
    data = file.read_bytes()

    def with_bytes(content):
        try:
            file.write_bytes(content)
            check()
        finally:
            file.write_bytes(data)

    fuzz(name, with_bytes, few, content=damaged(data))


@pytest.mark.parametrize("name", ["mix.json", "index.parquet"])
def test_bytes_of_a_mix(fuzz, mixed, name):
    folder, pixels, _ = mixed

    def check():
        rows, info = records.load_mix(folder / "mix")
        _say(info)
        if len(rows) != MIX_ROWS:
            raise InputError("other rows", where="run", way_out="the workdir's digest refuses it")
        np.testing.assert_array_equal(_pixels(rows), pixels)

    _fuzz_file(fuzz, folder / "mix" / name, check, f"bytes of {name}")


def test_values_of_mix_json(fuzz, mixed):
    """As somebody changes them by hand: right JSON, other types."""
    folder, pixels, _ = mixed
    file = folder / "mix/mix.json"
    text = file.read_text()
    top = ["shards", "px", "size", "digest", "cohorts"]
    cohort = ["organ", "stain", "license", "commercial_use", "mpp"]
    odd = st.none() | st.booleans() | st.sampled_from([*ODD_NUMBERS, *ODD_FLOATS, *ODD_TEXTS])
    odd |= st.lists(odd, max_size=2) | st.dictionaries(st.text(max_size=2), odd, max_size=2)

    def check(place, value):
        content = json.loads(text)
        (content if place in top else content["cohorts"]["toy"])[place] = value
        try:
            file.write_text(json.dumps(content))
            rows, info = records.load_mix(folder / "mix")
            _say(info)
            np.testing.assert_array_equal(_pixels(rows), pixels)
        finally:
            file.write_text(text)

    place = st.sampled_from([*top, *cohort])
    fuzz("values of mix.json", check, 100, place=place, value=odd)


def _say(info) -> None:
    """What a run makes of mix.json before it starts."""
    config = configs.load(CONFIG)
    plan = configs.plan(config, 3161)
    report.header(config, info, plan, meshes.make(1), ())
    train.origin(config, info, {}).published().to_json()
    json.dumps(configs.identity(config, mix_digest=info["digest"]))


def test_values_of_an_index(fuzz, mixed):
    """Numbers of the wrong place, in a file that is whole."""
    folder, pixels, _ = mixed
    file = folder / "mix/index.parquet"
    data, table = file.read_bytes(), pyarrow.parquet.read_table(file)

    def check(name, row, value):
        values = table[name].to_pylist()
        values[row] = value
        position = table.column_names.index(name)
        try:
            changed = table.set_column(position, name, pyarrow.array(values))
        except (pyarrow.ArrowException, OverflowError):
            return
        try:
            pyarrow.parquet.write_table(changed, file)
            rows, _ = records.load_mix(folder / "mix")
            np.testing.assert_array_equal(_pixels(rows), pixels)
        finally:
            file.write_bytes(data)

    odd = st.sampled_from([None, *ODD_NUMBERS, *ODD_FLOATS]) | st.integers(0, 10**5)
    name = st.sampled_from(["shard", "offset", "length", "crc"])
    row = st.integers(0, MIX_ROWS - 1)
    fuzz("values of index.parquet", check, 30, name=name, row=row, value=odd)


def test_bytes_of_a_shard(fuzz, mixed):
    folder, pixels, _ = mixed
    (shard,) = folder.glob("records/toy/1.0.0/*train.tfrecord*")
    rows, _ = records.load_mix(folder / "mix")

    def check():
        np.testing.assert_array_equal(_pixels(rows), pixels)

    _fuzz_file(fuzz, shard, check, "bytes of a shard")


@pytest.mark.parametrize("name", ["record_set.json", "manifest.parquet"])
def test_bytes_of_a_record_set(fuzz, mixed, name):
    """Labels and groups too are those that were written."""
    folder, _, whole = mixed

    def check():
        found = records.load_record_set(folder / "records/toy", "train")
        for column in ("label", "slide", "patient", "key"):
            np.testing.assert_array_equal(found.columns[column], whole.columns[column])
        # All but px, the last: reading compares it with the images.
        for one, other in zip(tuple(found.rows)[:-1], tuple(whole.rows)[:-1], strict=True):
            np.testing.assert_array_equal(one, other)

    _fuzz_file(fuzz, folder / "records/toy/1.0.0" / name, check, f"bytes of {name}")


def test_bytes_of_a_checkpoint_s_metadata(fuzz, checkpoints, tmp_path):
    arrays = checkpoints.small(1).arrays
    checkpoints.save(tmp_path, arrays, 5)
    file = tmp_path / "checkpoints/5/metadata/metadata"
    saved = checkpoints.reopen(tmp_path)

    def check():
        restored, provenance = saved.restore(5, arrays)
        assert checkpoints.equal(restored, arrays)
        assert provenance == checkpoints.PROVENANCE

    _fuzz_file(fuzz, file, check, "bytes of a checkpoint's metadata")
