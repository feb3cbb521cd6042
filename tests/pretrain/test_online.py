"""The encoder judged beside the training: its features are those of that very step."""

import functools
import logging
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import nnx

from histo_simclr import config as configs
from histo_simclr import mesh as meshes
from histo_simclr import records
from histo_simclr.errors import InputError
from histo_simclr.evaluate import extract
from histo_simclr.model.resnet import ResNet
from histo_simclr.pretrain import online, train

ROOT = Path(__file__).parents[2]
VIEW = {"px": 72, "mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
BATCH = 8


class Recorder:
    """A question that keeps the features it was given."""

    max_corrupt = 0.0

    def __init__(self, rows: records.Rows, chosen: np.ndarray, seconds: float = 0.0):
        self.rows, self.chosen, self.seconds, self.given = rows, chosen, seconds, []

    def ask(self, features: np.ndarray) -> dict[str, float]:
        time.sleep(self.seconds)
        self.given.append(features)
        return {"online_knn": len(self.given) / 8, "online_chance": 0.5, "online_probe": np.nan}

    def describe(self) -> str:
        return "nothing"


@pytest.fixture(scope="module")
def rows():
    return records.load_mix(ROOT / "data/sample/mix")[0]


@functools.cache
def program_on(devices: int):
    config = configs.load(str(ROOT / "configs/resnet18_mix.py"))
    config.batch_size, config.views.px, config.precision = BATCH, VIEW["px"], "float32"
    config.epochs, config.warmup_epochs = 0.05, 0.01
    return train.build(config, meshes.make(devices), configs.plan(config, 3161))


def initial(program):
    """A copy that a step may be donated."""
    return jax.tree.map(jax.numpy.copy, program.split.arrays)


def judge_of(asked, encoder, *, every=1, devices=1, batch_size=BATCH):
    return online.Online(
        asked, encoder, every=every, arch="resnet18", view=VIEW, batch_size=batch_size,
        mesh=meshes.make(devices),
    )  # fmt: skip


def batches(devices: int, steps: int):
    sharding = meshes.batch_sharding(meshes.make(devices))
    for step in range(steps):
        drawn = np.random.default_rng(step).integers(0, 256, (BATCH, 96, 96, 3), np.uint8)
        yield jax.device_put(drawn, sharding)


def extracted(encoder, rows, devices):
    """What the evaluation takes from these arrays, by its own program."""
    model = ResNet("resnet18", rngs=nnx.Rngs(0))
    nnx.update(model, encoder)
    model.eval()
    return extract.features(model, rows, batch_size=16, mesh=meshes.make(devices), **VIEW)


@pytest.mark.parametrize("devices", [1, 8])
def test_features_are_those_of_the_step_and_the_training_does_not_notice(rows, devices):
    program, steps = program_on(devices), 2
    chosen = np.array([5, 700, 1500, 2222, 2900, 3000, 3001, 3002, 3003, 3160, 12])
    asked = Recorder(rows, chosen)
    judge = judge_of([asked], program.split.arrays[0]["encoder"], devices=devices)
    arrays = initial(program)
    # Nothing waits for the devices here: each step is donated what was just enqueued to be read.
    given = list(batches(devices, steps))
    with jax.transfer_guard("disallow"):
        for number, patches in enumerate(given, 1):
            arrays, _ = program.step(arrays, patches, program.seed_key)
            judge.start(number, arrays[0]["encoder"])
    judge.close()
    undisturbed = initial(program)
    found = [asked.given[0]]
    expected = [extracted(undisturbed[0]["encoder"], rows.take(chosen), devices)]
    for patches, features in zip(given, asked.given[1:], strict=True):
        undisturbed, _ = program.step(undisturbed, patches, program.seed_key)
        expected.append(extracted(undisturbed[0]["encoder"], rows.take(chosen), devices))
        found.append(features)
    scale = np.abs(expected[0]).max()
    for step in range(steps + 1):
        assert found[step].dtype == np.float32
        np.testing.assert_allclose(found[step], expected[step], atol=1e-5 * scale)
        if step:
            assert np.abs(expected[step] - expected[step - 1]).max() > 1e-3 * scale
    for one, other in zip(jax.tree.leaves(arrays), jax.tree.leaves(undisturbed), strict=True):
        np.testing.assert_array_equal(np.asarray(one), np.asarray(other))


@pytest.fixture(scope="module")
def encoder():
    return program_on(1).split.arrays[0]["encoder"]


def test_the_floor_is_the_untrained_encoder_and_what_is_undefined_is_left_out(rows, encoder):
    judge = judge_of([Recorder(rows, np.arange(3))], encoder)
    answers = judge.start(1, encoder).result()
    assert answers == {"online_knn": 2 / 8, "online_knn_untrained": 1 / 8, "online_chance": 0.5}
    judge.close()


def test_steps_are_due_at_multiples_and_never_without_a_question(rows, encoder):
    judge = judge_of([Recorder(rows, np.arange(2))], encoder, every=5)
    assert [step for step in range(1, 16) if judge.is_due(step)] == [5, 10, 15]
    nothing = judge_of([], encoder, every=5)
    assert not any(map(nothing.is_due, range(1, 16)))
    for each in (judge, nothing):
        each.close()


def test_a_slow_thread_holds_the_training_up_before_evaluations_pile_up(rows, encoder):
    judge = judge_of([Recorder(rows, np.arange(2), seconds=0.2)], encoder)
    futures = []
    for step in range(1, 7):
        futures.append(judge.start(step, encoder))
        assert sum(not each.done() for each in futures) <= online.PENDING
    assert not futures[-1].done()
    judge.close()
    assert all(each.done() for each in futures)


def test_features_that_are_not_finite_are_not_judged(rows, encoder, caplog):
    caplog.set_level(logging.WARNING)
    asked = Recorder(rows, np.arange(2))
    judge = judge_of([asked], encoder)
    # Not by arrays of NaN: XLA's rectifier on CPU makes zeros of them.
    judge._embed = lambda leaves, patches: jax.numpy.full((BATCH, 512), np.nan)
    assert judge.start(7, encoder).result() == {}
    assert "features after step 7 hold NaN" in caplog.text
    assert len(asked.given) == 1  # of the untrained encoder
    judge.close()


def test_a_corrupt_record_is_refused_where_rows_have_labels_and_replaced_in_the_mix(
    rows, encoder, tmp_path
):
    torn = tmp_path / "torn.tfrecord"
    data = bytearray(Path(rows.shards[0]).read_bytes())
    data[rows.offset[2] + rows.length[2] // 2] ^= 1
    torn.write_bytes(bytes(data))
    torn_rows = records.Rows(**rows._asdict() | {"shards": (str(torn), *rows.shards[1:])})
    asked = Recorder(torn_rows, np.array([0, 2]))
    with pytest.raises(InputError, match=rf"torn.tfrecord, offset {rows.offset[2]}"):
        judge_of([asked], encoder)
    asked.max_corrupt = 0.001
    judge_of([asked], encoder).close()
    sound = Recorder(rows, np.array([0, 3]))
    judge_of([sound], encoder).close()
    np.testing.assert_array_equal(asked.given[0], sound.given[0])
