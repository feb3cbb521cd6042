"""Weak scaling on simulated devices: what the compiled step's devices say to each other."""

import json
import sys
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
def weak_scaling():
    """The module docs/weak_scaling.py."""
    sys.path.insert(0, str(DOCS))
    import weak_scaling

    yield weak_scaling
    sys.path.remove(str(DOCS))


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
        # The gradient of the projections, where all meet all; else metrics: one number or one a
        # feature.
        projections = 2 * EACH * devices * 128
        rest = found.surplus.copy()
        assert rest.pop(projections, 0) <= 1
        assert set(rest) <= {1, 512}
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
    counts = {devices: heard[devices].said for devices in DEVICES}
    for part in ("statistics", "gradients", "sums", "gathers", "exchanges"):
        assert len({counts[devices][part].count for devices in DEVICES}) == 1, part
    # Rolling rows over two devices needs fewer than over more; over four one of its special cases
    # needs two more than over eight or 64 (docs/scaling.md).
    assert all(counts[devices]["permutes"].count <= 23 for devices in DEVICES)


def test_what_is_gathered_for_the_loss_grows_with_the_global_batch(heard):
    gathered = {devices: heard[devices].said["gathers"].bytes for devices in DEVICES}
    assert gathered[4] == 2 * gathered[2]
    assert gathered[8] == 4 * gathered[2]
    # Projections for the loss and two metrics, the numbers of their partners: no feature, no view.
    rows = 2 * EACH * 8
    assert 4 * rows * 128 <= gathered[8] <= 3 * 4 * rows * 128 + 2 * 4 * rows
    # What goes from one device to another, not to all: a few times its own rows.
    for devices in DEVICES:
        said = heard[devices].said
        assert said["permutes"].bytes + said["exchanges"].bytes <= 16 * 4 * (2 * EACH) * 128


@pytest.mark.parametrize("devices", DEVICES)
def test_the_page_on_scaling_shows_what_is_compiled_now(heard, devices):
    rows = json.loads((DOCS / "scaling.json").read_text())
    kept = {"arch": "resnet18", "devices": devices, "each": EACH, "px": 72, "precision": "float32"}
    (row,) = (row for row in rows if row | kept == row)
    now = {part: list(said) for part, said in heard[devices].said.items()}
    assert row["said"] == now, "python docs/scaling.py --compile --write"
