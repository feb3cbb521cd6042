"""Weak scaling on simulated devices: what the compiled step's devices say to each other."""

import json
from pathlib import Path

import pytest

from histo_simclr import collectives

DOCS = Path(__file__).parents[2] / "docs"
DEVICES, EACH = (2, 4, 8), 6  # at 72 px layer4 still has more than one place
# torchvision's resnet18: 11,689,512 parameters, of these 513,000 in its classifier and 9,600 in the
# 4,800 channels of its 20 BatchNorms. The head is 512-512-128, with biases.
KERNELS = 11_689_512 - 513_000 - 9_600 + (512 * 512 + 512) + (512 * 128 + 128)
CHANNELS, NORMS = 4_800, 20


@pytest.fixture(scope="module")
def weak_scaling(module_at):
    """The module docs/weak_scaling.py."""
    return module_at(DOCS / "weak_scaling.py")


@pytest.fixture(scope="module")
def heard(weak_scaling):
    """Number of devices -> the collectives of ResNet-18's step with six patches on each."""
    found = {}
    for devices in DEVICES:
        config = weak_scaling.settings("resnet18", batch=EACH * devices, px=72, precision="float32")
        program = weak_scaling.lowered(config, devices)
        text = program.compile(compiler_options=weak_scaling.QUICK).as_text()
        found[devices] = weak_scaling.heard(collectives.read(text), config)
    return found


def test_the_model_says_how_much_is_summed_over_devices(weak_scaling):
    config = weak_scaling.settings("resnet18", batch=EACH, px=72, precision="float32")
    wanted = weak_scaling.predicted(config)
    assert wanted["statistics"].total() == 4 * NORMS
    assert sum(size * count for size, count in wanted["statistics"].items()) == 4 * CHANNELS
    assert sum(size * count for size, count in wanted["gradients"].items()) == KERNELS


def test_each_sum_that_the_architecture_needs_is_made_once_and_no_large_one_beside(heard):
    for devices in DEVICES:
        found = heard[devices]
        assert not found.missing
        # The gradient of the projections, where all meet all; else metrics: one number, one a
        # feature, one a row.
        projections = 2 * EACH * devices * 128
        rest = found.surplus.copy()
        assert rest.pop(projections, 0) <= 1
        assert set(rest) <= {1, 512, 2 * EACH * devices}
        assert rest.total() <= 10


def test_statistics_and_gradients_cost_the_same_on_any_number_of_devices(heard):
    for devices in DEVICES:
        said = heard[devices].said
        assert said["statistics"].bytes == 4 * 4 * CHANNELS
        # The compiler joins those of a block's two branches; each other sum waits for the last.
        assert 2 * (NORMS - 3) <= said["statistics"].count <= 2 * NORMS
        assert 4 * KERNELS <= said["gradients"].bytes <= 4 * (KERNELS + 1000)
        assert said["gradients"].count == 1


def test_with_more_devices_there_are_no_more_collectives(heard):
    counts = {devices: [said.count for said in heard[devices].said.values()] for devices in DEVICES}
    assert counts[2] == counts[4] == counts[8]


def test_partners_meet_without_leaving_their_device(heard):
    assert all(heard[devices].said["permutes"].count == 0 for devices in DEVICES)


def test_what_is_gathered_for_the_loss_grows_with_the_global_batch(heard):
    gathered = {devices: heard[devices].said["gathers"].bytes for devices in DEVICES}
    assert gathered[4] == 2 * gathered[2]
    assert gathered[8] == 4 * gathered[2]
    # Projections for the loss and two metrics, nothing else: no feature, no view.
    projections = 4 * 128 * 2 * EACH * 8
    assert gathered[8] in (projections, 2 * projections, 3 * projections)
    # What goes from each to each is at most a device's part of the similarities, once.
    rows = 2 * EACH
    assert all(heard[n].said["exchanges"].bytes <= 4 * rows * rows * n for n in DEVICES)


@pytest.mark.parametrize("devices", DEVICES)
def test_the_page_on_scaling_shows_what_is_compiled_now(heard, devices):
    rows = json.loads((DOCS / "scaling.json").read_text())
    kept = {"arch": "resnet18", "devices": devices, "each": EACH, "px": 72, "precision": "float32"}
    (row,) = (row for row in rows if row | kept == row)
    now = {part: list(said) for part, said in heard[devices].said.items()}
    assert row["said"] == now, "python docs/scaling.py --compile --write"


@pytest.mark.parametrize(("remat", "more"), [("convolutions", 1.0), ("blocks", 1.25)])
def test_remat_says_the_statistics_of_the_forward_pass_once_more(weak_scaling, heard, remat, more):
    config = weak_scaling.settings("resnet18", batch=2 * EACH, px=72, precision="float32")
    config.compute.remat = remat
    text = weak_scaling.lowered(config, 2).compile(compiler_options=weak_scaling.QUICK).as_text()
    found = weak_scaling.heard(collectives.read(text), config).said["statistics"]
    without = heard[2].said["statistics"]
    assert found.bytes == 1.5 * without.bytes
    assert found.count <= more * without.count
