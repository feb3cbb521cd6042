"""Reference values: google-research/simclr's LARS and schedule (TensorFlow); formulas in numpy."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from histo_simclr import optimizer
from histo_simclr.errors import InputError


@pytest.fixture(scope="module")
def lars(golden_dir):
    return np.load(golden_dir / "lars.npz")


@pytest.fixture(scope="module")
def schedules(golden_dir):
    return json.loads((golden_dir / "schedule.json").read_text())


def run(rule, params, gradients):
    """Parameters after each update of a pytree `params`."""
    state = rule.init(params)

    @jax.jit
    def update(params, state, gradient):
        updates, state = rule.update(gradient, state, params)
        return optax.apply_updates(params, updates), state

    trace = []
    for gradient in gradients:
        params, state = update(params, state, gradient)
        trace.append(params)
    return trace


def as_state(arrays):
    """An nnx.State as training has it: one Param a leaf."""
    return nnx.State({name: nnx.Param(array) for name, array in arrays.items()})


# float32: three times what the reference itself is off in float32 after all five updates. Earlier
# ones are checked in float64 only: the first moves the weights by some thousand units of their last
# place, so its rounding alone is 2e-4 of it.
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), ("float32", 5e-5)])
@pytest.mark.parametrize("decay", ["0", "1e-06", "0.0001"])
@pytest.mark.parametrize("container", [dict, as_state])
def test_lars_moves_as_simclrs_does(container, decay, dtype, tolerance, lars):
    names = [key.removeprefix("start/") for key in lars if key.startswith("start/")]
    start = {name: lars[f"start/{name}"] for name in names}
    with jax.enable_x64(dtype == "float64"):
        rates = jnp.asarray(lars["rates"], dtype)
        rule = optimizer.make(
            "lars", rate=lambda step: rates[step], weight_decay=float(decay), momentum=0.9
        )
        gradients = [
            container({name: jnp.asarray(lars[f"grad{i}/{name}"], dtype) for name in names})
            for i in range(1, 6)
        ]
        params = container({name: jnp.asarray(start[name], dtype) for name in names})
        trace = run(rule, params, gradients)
        steps = range(1, 6) if dtype == "float64" else [5]
        for i in steps:
            for name in names:
                expected = lars[f"wd{decay}/step{i}/{name}"]
                moved = np.linalg.norm(expected - start[name])
                error = np.linalg.norm(np.float64(trace[i - 1][name][...]) - expected)
                assert error <= tolerance * moved, (i, name)


def test_schedule_and_scaling_are_simclrs(schedules):
    assert len(schedules["cases"]) == 4
    for case in schedules["cases"]:
        peak = optimizer.scaled_rate(case["base_rate"], case["batch"], case["scaling"])
        np.testing.assert_allclose(peak, case["peak"], rtol=1e-12)
        rate = optimizer.schedule(
            peak, warmup_steps=case["warmup_steps"], total_steps=case["total_steps"]
        )
        found = [float(rate(step)) for step in case["steps"]]
        for expected in (case["rate_simclr_float32"], case["rate_float64_closed_form"]):
            np.testing.assert_allclose(found, expected, rtol=0, atol=2e-7 * peak)


def test_rate_without_scaling_is_the_base_rate():
    assert optimizer.scaled_rate(0.3, 4096, "none") == 0.3


def test_schedule_without_warm_up_starts_at_the_peak():
    rate = optimizer.schedule(0.5, warmup_steps=0, total_steps=10)
    np.testing.assert_allclose([rate(0), rate(5), rate(10)], [0.5, 0.25, 0], atol=1e-7)


PARAMS = {
    "kernel": np.array([[0.5, -1.0], [2.0, 0.25]]),
    "bias": np.array([0.5, -0.5]),
}
GRADIENTS = [
    {"kernel": np.array([[0.1, 0.2], [-0.3, 0.4]]), "bias": np.array([0.5, -0.1])},
    {"kernel": np.array([[-0.2, 0.1], [0.6, 0.0]]), "bias": np.array([0.3, 0.2])},
    {"kernel": np.array([[0.4, 0.4], [0.1, -0.7]]), "bias": np.array([-0.2, 0.1])},
]
RATES = (0.1, 0.4, 0.2)


def trace_of(name, weight_decay, momentum):
    with jax.enable_x64(True):
        rates = jnp.asarray(RATES)
        rule = optimizer.make(
            name, rate=lambda step: rates[step], weight_decay=weight_decay, momentum=momentum
        )
        params, *gradients = jax.tree.map(jnp.asarray, [PARAMS, *GRADIENTS])
        return jax.tree.map(np.asarray, run(rule, params, gradients))


def test_sgd_is_torchs_with_decay_on_kernels_only():
    trace = trace_of("sgd", weight_decay=0.05, momentum=0.8)
    for name, decay in (("kernel", 0.05), ("bias", 0.0)):
        value, velocity = PARAMS[name], 0.0
        for gradient, rate, found in zip(GRADIENTS, RATES, trace, strict=True):
            velocity = 0.8 * velocity + gradient[name] + decay * value
            value = value - rate * velocity
            np.testing.assert_allclose(found[name], value, rtol=1e-13)


def test_adamw_is_the_papers_with_decay_on_kernels_only():
    trace = trace_of("adamw", weight_decay=0.05, momentum=0.8)
    for name, decay in (("kernel", 0.05), ("bias", 0.0)):
        value, first, second = PARAMS[name], 0.0, 0.0
        for i, (gradient, rate, found) in enumerate(
            zip(GRADIENTS, RATES, trace, strict=True), start=1
        ):
            first = 0.8 * first + 0.2 * gradient[name]
            second = 0.999 * second + 0.001 * gradient[name] ** 2
            direction = first / (1 - 0.8**i) / (np.sqrt(second / (1 - 0.999**i)) + 1e-8)
            value = value - rate * (direction + decay * value)
            np.testing.assert_allclose(found[name], value, rtol=1e-9)


@pytest.mark.parametrize("name", ["sgd", "adamw", "lars"])
def test_layerwise_decay_is_another_rate_for_each_layer(name):
    arguments = {"weight_decay": 0.05, "momentum": 0.8}
    with jax.enable_x64(True):
        start, *gradients = jax.tree.map(
            jnp.asarray, [{"near": each, "far": each} for each in (PARAMS, *GRADIENTS)]
        )
        rule = optimizer.layerwise(
            optimizer.make(name, rate=0.4, **arguments),
            decay=0.5,
            depth_of=lambda path: {"near": 0, "far": 3}[path[0]],
        )
        found = run(rule, start, gradients)[-1]
        for layer, rate in (("near", 0.4), ("far", 0.05)):
            alone = optimizer.make(name, rate=rate, **arguments)
            expected = run(alone, start[layer], [each[layer] for each in gradients])[-1]
            for leaf, value in expected.items():
                np.testing.assert_allclose(found[layer][leaf], value, rtol=1e-12)


def test_unknown_names_and_impossible_schedules_are_refused():
    with pytest.raises(InputError, match=r"'lamb'.*lars, sgd, adamw"):
        optimizer.make("lamb", rate=0.1, weight_decay=0.0, momentum=0.9)
    with pytest.raises(InputError, match=r"'cubic'.*linear, sqrt, none"):
        optimizer.scaled_rate(0.1, 256, "cubic")
    with pytest.raises(InputError, match="10 warm-up steps"):
        optimizer.schedule(0.1, warmup_steps=10, total_steps=10)
