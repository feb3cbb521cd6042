"""What the clock notices beside the time."""

import itertools
import threading
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from histo_simclr.benchmarks import clock, end_to_end, programs


def test_a_step_that_compiles_again_is_counted():
    double = jax.jit(lambda x: 2 * x)
    np.asarray(double(jnp.ones(3)))
    found, _ = clock.timed((double(np.ones(3, "f4")) for _ in range(9)), batch=4, steps=5)
    assert found["compilations"] == 0
    again = (double(np.ones(size, "f4")) for size in itertools.count(4))
    found, _ = clock.timed(again, batch=4, steps=5)
    assert found["compilations"] == 5
    assert found["images_per_s_mean"] > 0


def test_the_compile_cache_is_missed_once(tmp_path):
    jitted = jax.jit(lambda x: x * 0.3125 + 17.5)
    argument = jax.ShapeDtypeStruct((5,), "float32")
    before = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", str(tmp_path))
    jax.experimental.compilation_cache.compilation_cache.reset_cache()
    try:
        states = [programs.compiled(jitted, argument).cache]
        jax.clear_caches()
        states.append(programs.compiled(jitted, argument).cache)
    finally:
        jax.config.update("jax_compilation_cache_dir", before)
        jax.experimental.compilation_cache.compilation_cache.reset_cache()
    assert states == ["miss", "hit"]


@pytest.mark.parametrize(
    ("step", "hidden"), [(90.0, 1.0), (100.0, 1.0), (101.0, 0.75), (104.0, 0.0), (200.0, 0.0)]
)
def test_what_input_costs_is_charged_to_the_transfer(step, hidden):
    fed, alone = ({"step_ms_median": ms, "step_ms_spread": 3.9} for ms in (step, 100.0))
    found, _ = end_to_end._input(fed, alone, transfer_ms=4.0, waited=0.0)
    assert found["transfer_hidden"] == pytest.approx(hidden)
    assert found["transfer_share_of_step"] == pytest.approx(0.04)


@pytest.mark.parametrize("spreads", [(4.1, 0.1), (0.1, 4.1), (None, None)])
def test_the_transfer_is_not_charged_with_the_noise_of_the_steps(spreads):
    fed, alone = (
        {"step_ms_median": ms, "step_ms_spread": spread}
        for ms, spread in zip((110.0, 100.0), spreads, strict=True)
    )
    found, rows = end_to_end._input(fed, alone, transfer_ms=4.0, waited=0.0)
    assert found["transfer_hidden"] is None
    assert "not told apart" in " ".join(map(" ".join, rows))


def test_the_spread_is_that_of_the_middle_half_of_the_steps():
    # Of 0, 1, … 10 ms; and of one outlier more, which does not count.
    assert clock._spread_ms([each / 1000 for each in range(11)]) == pytest.approx(6)
    assert clock._spread_ms([0.001] * 8 + [9.0]) == 0
    assert clock._spread_ms([0.001]) is None


def test_a_process_that_is_never_at_rest_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(clock, "PATIENCE_SECONDS", 0.4)
    done = threading.Event()

    def work():
        while not done.is_set():
            sum(range(10_000))

    busy = threading.Thread(target=work)
    busy.start()
    try:
        start = time.perf_counter()
        last = clock._rest()
        took = time.perf_counter() - start
    finally:
        done.set()
        busy.join()
    assert 0.4 <= took < 5
    assert start <= last <= start + took


def test_training_runs_ahead_and_keeps_the_order():
    seen = []
    step = jax.jit(lambda total, batch, key: (total + batch, {"loss": total}))
    training = programs.Training(step, jnp.float32(0), jax.random.key(0))

    def batches(pending):
        seen.append(pending and float(pending["loss"]))
        return jnp.float32(10)

    losses = [float(m["loss"]) for m in itertools.islice(training.steps(batches, ahead=2), 4)]
    assert losses == [0, 10, 20, 30]
    assert seen == [None, 0, 10, 20, 30, 40]
    assert (training.done, float(training.arrays)) == (6, 60)
