"""Reference values: google-research/simclr (TensorFlow), lightly (torch), float64; and loops."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from histo_simclr.pretrain import objective


def of_rows(measure):
    """`measure` of (2B, D) whose rows i and i + B are partners, as the references have them.

    Compiled whole: operation by operation each of them is a dozen small programs.
    """

    def on_rows(rows, **settings):
        return measure(jnp.stack(jnp.split(rows, 2), axis=1), **settings)

    return jax.jit(on_rows, static_argnames=("temperature", "similarity_rows"))


nt_xent = of_rows(objective.nt_xent)
dcl = of_rows(objective.dcl)
contrastive_top1 = of_rows(objective.contrastive_top1)
alignment = of_rows(objective.alignment)
uniformity = of_rows(objective.uniformity)

CASES = [(case, t) for case in ("n4", "n64") for t in (0.07, 0.5)]
# (value relative, gradient relative to its maximum): float32 ten times above torch's own error.
TOLERANCES = {"float64": (1e-12, 1e-12), "float32": (2e-6, 5e-6)}


@pytest.fixture(scope="module")
def golden(golden_dir):
    return np.load(golden_dir / "nt_xent.npz")


@pytest.fixture(params=["float64", "float32"])
def dtype(request):
    with jax.enable_x64(request.param == "float64"):
        yield request.param


def value_and_grad(loss, projections, temperature, **settings):
    def fn(projections):
        return loss(projections, temperature=temperature, **settings)

    return jax.jit(jax.value_and_grad(fn))(projections)


def assert_agrees(found, value, grad, dtype):
    for_value, for_grad = TOLERANCES[dtype]
    assert found[0].dtype == dtype
    np.testing.assert_allclose(found[0], value, rtol=for_value)
    np.testing.assert_allclose(found[1], grad, rtol=0, atol=for_grad * np.abs(grad).max())


@pytest.mark.parametrize(("case", "temperature"), CASES)
def test_nt_xent_is_simclrs_halved(case, temperature, golden, dtype):
    found = value_and_grad(nt_xent, golden[f"{case}/z"].astype(dtype), temperature)
    key = f"{case}/t{temperature}"
    # simclr divides the sum over 2B rows by B, we (and lightly) by 2B.
    half, half_grad = golden[f"{key}/simclr_loss"] / 2, golden[f"{key}/simclr_grad"] / 2
    assert_agrees(found, half, half_grad, dtype)
    np.testing.assert_allclose(found[0], golden[f"{key}/lightly_loss"], rtol=TOLERANCES[dtype][0])


@pytest.mark.parametrize(("case", "temperature"), CASES)
def test_dcl_is_lightlys(case, temperature, golden, dtype):
    found = value_and_grad(dcl, golden[f"{case}/z"].astype(dtype), temperature)
    key = f"{case}/t{temperature}"
    assert_agrees(found, golden[f"{key}/dcl_loss"], golden[f"{key}/dcl_grad"], dtype)


@pytest.mark.parametrize("temperature", [0.07, 0.5])
def test_a_projection_of_zeros_has_simclrs_finite_gradient(temperature, golden, dtype):
    found = value_and_grad(nt_xent, golden["edge/z"].astype(dtype), temperature)
    key = f"edge/t{temperature}"
    assert np.isfinite(found[1]).all()
    half, half_grad = golden[f"{key}/simclr_loss"] / 2, golden[f"{key}/simclr_grad"] / 2
    assert_agrees(found, half, half_grad, dtype)


@pytest.mark.parametrize("loss", [dcl, alignment, uniformity])
def test_the_other_measures_stay_finite_on_a_projection_of_zeros(loss, golden):
    temperature = {"temperature": 0.1} if loss is dcl else {}
    value, grad = jax.jit(jax.value_and_grad(lambda z: loss(z, **temperature)))(golden["edge/z"])
    assert np.isfinite(value)
    assert np.isfinite(grad).all()


def loops(projections, temperature, keep_positive):
    """Algorithm 1 of arXiv 2002.05709, one pair of rows after the other."""
    unit = [row / math.sqrt(sum(value**2 for value in row)) for row in projections]
    rows, total = len(unit), 0.0
    for i in range(rows):
        partner = (i + rows // 2) % rows
        denominator = 0.0
        for k in range(rows):
            if k != i and (keep_positive or k != partner):
                denominator += math.exp(np.dot(unit[i], unit[k]) / temperature)
        positive = math.exp(np.dot(unit[i], unit[partner]) / temperature)
        total += -math.log(positive / denominator)
    return total / rows


@pytest.mark.parametrize(("loss", "keep"), [(nt_xent, True), (dcl, False)])
def test_loss_is_the_papers_loops(loss, keep):
    projections = np.random.default_rng(3).normal(size=(6, 5))
    with jax.enable_x64(True):
        found = loss(jnp.asarray(projections), temperature=0.2)
    np.testing.assert_allclose(found, loops(projections, 0.2, keep), rtol=1e-13)


@pytest.mark.parametrize("pairs", [1, 5])
def test_coinciding_projections_are_at_chance_level(pairs):
    same = jnp.ones((2 * pairs, 3))
    found = nt_xent(same, temperature=0.5)
    np.testing.assert_allclose(found, math.log(2 * pairs - 1), rtol=1e-6, atol=1e-6)
    if pairs > 1:
        found = dcl(same, temperature=0.5)
        np.testing.assert_allclose(found, math.log(2 * pairs - 2), rtol=1e-6)
    np.testing.assert_allclose(alignment(same), 0, atol=1e-6)
    np.testing.assert_allclose(uniformity(same), 0, atol=1e-6)


def test_perfect_orthogonal_pairs_have_the_closed_form():
    pairs, temperature = 4, 0.3
    perfect = jnp.tile(3 * jnp.eye(pairs), (2, 1))
    negatives = 2 * pairs - 2
    expected = math.log(math.exp(1 / temperature) + negatives) - 1 / temperature
    np.testing.assert_allclose(nt_xent(perfect, temperature=temperature), expected, rtol=1e-5)
    expected = math.log(negatives) - 1 / temperature
    np.testing.assert_allclose(dcl(perfect, temperature=temperature), expected, rtol=1e-6)
    assert contrastive_top1(perfect) == 1
    # Opposite views instead of equal ones: partners are the farthest of all.
    opposite = jnp.concatenate([jnp.eye(pairs), -jnp.eye(pairs)])
    assert contrastive_top1(opposite) == 0
    np.testing.assert_allclose(alignment(opposite), 4, rtol=1e-6)


@pytest.mark.parametrize("case", ["n4", "n64"])
def test_top1_counts_rows_nearest_to_their_partner(case, golden):
    expected = golden[f"{case}/t0.5/top1_of_2n_minus_1"]
    assert contrastive_top1(golden[f"{case}/z"]) == np.float32(expected)


@pytest.mark.parametrize("measure", ["alignment", "uniformity"])
@pytest.mark.parametrize("case", ["n4", "n64"])
def test_alignment_and_uniformity_are_wang_and_isolas(case, measure, golden, dtype):
    found = {"alignment": alignment, "uniformity": uniformity}[measure](
        golden[f"{case}/z"].astype(dtype)
    )
    tolerance = {"float64": 1e-12, "float32": 1e-6}[dtype]
    np.testing.assert_allclose(found, golden[f"{case}/{measure}"], rtol=tolerance)


@pytest.mark.parametrize("similarity_rows", [2, 32, 128])
@pytest.mark.parametrize("temperature", [0.07, 0.5])
def test_a_block_of_similarities_at_a_time_gives_simclrs_loss(
    similarity_rows, temperature, golden, dtype
):
    z, key = golden["n64/z"].astype(dtype), f"n64/t{temperature}"
    found = value_and_grad(nt_xent, z, temperature, similarity_rows=similarity_rows)
    half, half_grad = golden[f"{key}/simclr_loss"] / 2, golden[f"{key}/simclr_grad"] / 2
    assert_agrees(found, half, half_grad, dtype)
    found = value_and_grad(dcl, z, temperature, similarity_rows=similarity_rows)
    assert_agrees(found, golden[f"{key}/dcl_loss"], golden[f"{key}/dcl_grad"], dtype)
    spread = uniformity(z, similarity_rows=similarity_rows)
    np.testing.assert_allclose(spread, golden["n64/uniformity"], rtol=TOLERANCES[dtype][0])
    share = contrastive_top1(z, similarity_rows=similarity_rows)
    assert share == np.float32(golden["n64/t0.5/top1_of_2n_minus_1"])


def test_memory_grows_with_the_batch_not_with_its_square_when_similarities_come_in_blocks():
    def temporaries(batch: int, similarity_rows: int) -> int:
        def loss(projections):
            settings = {"temperature": 0.2, "similarity_rows": similarity_rows}
            return objective.nt_xent(projections, **settings)

        shape = jax.ShapeDtypeStruct((batch, 2, 16), jnp.float32)
        program = jax.jit(jax.value_and_grad(loss)).lower(shape).compile()
        return program.memory_analysis().temp_size_in_bytes

    assert temporaries(2048, 0) > 4096**2 * 4
    assert temporaries(2048, 64) < 2.5 * temporaries(1024, 64) < 4096**2


@pytest.mark.parametrize("loss", [nt_xent, dcl])
@pytest.mark.parametrize("similarity_rows", [0, 32])
def test_loss_and_gradient_do_not_depend_on_the_number_of_devices(loss, similarity_rows, golden):
    results = []
    with jax.enable_x64(True):
        for devices in (1, 8):
            mesh = jax.sharding.Mesh(jax.devices()[:devices], ("data",))
            sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
            projections = jax.device_put(golden["n64/z"].astype(np.float64), sharding)
            results.append(value_and_grad(loss, projections, 0.07, similarity_rows=similarity_rows))
    (one, one_grad), (eight, eight_grad) = results
    np.testing.assert_allclose(eight, one, rtol=1e-14)
    np.testing.assert_allclose(eight_grad, one_grad, rtol=0, atol=1e-14 * np.abs(one_grad).max())


def test_bfloat16_projections_meet_in_float32(golden):
    rounded = jnp.asarray(golden["n64/z"], jnp.bfloat16)
    found = nt_xent(rounded, temperature=0.07)
    expected = loops(np.asarray(rounded, np.float64), 0.07, keep_positive=True)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, expected, rtol=2e-6)
