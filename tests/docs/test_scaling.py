"""docs/scaling.md: its tables are those of its script, and the formulas behave."""

import json
import math
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def scaling(module_at):
    """The module docs/scaling.py."""
    return module_at(DOCS / "scaling.py")


@pytest.fixture(scope="module")
def fabrics(scaling):
    """The module docs/fabrics.py, which it uses."""
    return sys.modules["fabrics"]


@pytest.fixture(scope="module")
def rows():
    """What was read of the compiled programs."""
    return json.loads((DOCS / "scaling.json").read_text())


def test_the_page_shows_what_the_script_computes(scaling, rows):
    page = (DOCS / "scaling.md").read_text()
    assert scaling.filled(page, scaling.tables(rows)) == page, "python docs/scaling.py --write"


@pytest.mark.parametrize(
    ("kind", "net", "rate"),
    # Counted by another program from the layers' shapes: images/s without overlap.
    [
        ("H100", "resnet18", 15_379),
        ("H100", "resnet50", 4_037),
        ("v5e", "resnet18", 3_499),
        ("v5p", "resnet50", 2_883),
    ],
)
def test_one_chip_runs_at_the_yardstick(scaling, rows, kind, net, rate):
    flops = scaling.read_of(rows, net).flops
    # The compiler leaves out the taps on the padding, and counts the views: 1 to 5 % of the FLOPs.
    assert 1 / scaling.compute(scaling.FABRICS[kind], net, flops) == pytest.approx(rate, rel=0.03)


def test_a_torus_is_as_long_as_its_longest_way(fabrics):
    assert fabrics.hops("v5e", 8) == 1 + 3  # open: from corner to corner
    assert fabrics.hops("v5e", 256) == 8 + 8
    assert fabrics.hops("v5p", 64) == 2 + 2 + 2
    # v5e's page: 51.2 TB/s of all-reduce a pod is 200 GB/s a chip.
    assert 256 * fabrics.tpu_rate("v5e", 256) == pytest.approx(51.2e12)


def test_a_gpu_pays_its_node_and_then_a_tree_of_nodes(fabrics):
    assert fabrics.gpu_latency(8) == pytest.approx(15.2e-6)
    assert fabrics.gpu_latency(512) - fabrics.gpu_latency(256) == pytest.approx(10e-6)


@pytest.mark.parametrize("kind", ["v5e", "v5p", "H100"])
def test_a_perfect_network_leaves_only_the_similarities(scaling, rows, kind, monkeypatch):
    read = scaling.read_of(rows, "resnet18")
    perfect = scaling.FABRICS[kind]._replace(
        latency=lambda devices: 0.0,
        rate=lambda devices: math.inf,
        between=lambda devices: math.inf,
    )
    real = scaling.efficiency(kind, "resnet18", 64, 64, read)
    monkeypatch.setitem(scaling.FABRICS, kind, perfect)
    found = scaling.step(kind, "resnet18", 64, 64, read)
    assert found.total == pytest.approx(found.compute + found.similarities)
    # As many rows on each device, against 64 times as many.
    alone = scaling.step(kind, "resnet18", 1, 64, read)
    assert found.similarities == pytest.approx(64 * alone.similarities)
    assert real < scaling.efficiency(kind, "resnet18", 64, 64, read) < 1


def test_a_matrix_is_one_number_a_pair_of_rows(scaling):
    # 4,096 patches are 8,192 rows: 2**13 * 2**13 * 4 bytes on all devices together.
    assert scaling.matrix(1, 4096) == 256 * 2**20
    assert scaling.matrix(8, 4096) == 32 * 2**20
    assert scaling.matrix(1, 4096, rows=1024) == 32 * 2**20


def test_statistics_wait_one_by_one_and_travel_as_other_sums(scaling, rows):
    read = scaling.read_of(rows, "resnet18")
    assert read.said["statistics"] == [34, 76_800]
    found = scaling.step("H100", "resnet18", 8, 512, read)
    assert found.statistics == pytest.approx(34 * 15.2e-6 + 2 * 76_800 / 370e9)
    # Two pods of v5e, 16 x 16 each: half of the bytes cross once for the sum, once to be told.
    found = scaling.step("v5e", "resnet18", 512, 256, read)
    latency = 5e-6 + 2 * 16e-6 + 50e-6
    assert found.statistics == pytest.approx(34 * latency + 2 * 76_800 / 200e9 + 76_800 / 800e9)


def test_patches_below_the_onset_make_statistics_matter(scaling, rows):
    read = scaling.read_of(rows, "resnet50")
    fewest = scaling.least("H100", "resnet50", 64, read, "statistics")
    above, below = (
        scaling.step("H100", "resnet50", 64, each, read) for each in (fewest, fewest - 1)
    )
    assert above.statistics / above.total <= 0.05 < below.statistics / below.total
