"""Step time, efficiency and cost on many chips, predicted; the tables of docs/scaling.md.

  python docs/scaling.py             prints the tables
  python docs/scaling.py --write     puts them into docs/scaling.md
  python docs/scaling.py --compile   first compiles the step for simulated devices again (some ten
                                     minutes on two cores) and keeps what was read in scaling.json

Every formula is a function of a few lines here, every constant has its source beside it.
"""

import argparse
import json
import math
from pathlib import Path
from typing import NamedTuple

import weak_scaling
from fabrics import FABRICS, TORUS, Fabric

from histo_simclr.benchmarks import rooflines

PLACE = Path(__file__).with_suffix(".md")
COMPILED = Path(__file__).with_suffix(".json")
NETS = weak_scaling.NETS

PASSES = 400e6  # patch passes of the paper's run: 400,000 patches x 1000 epochs
PROJECTION = 128  # width, float32
SMALL = 8  # devices of the program that is read; its loss is scaled to other batches
# Bytes of HBM an image (two views at 224 px, forward and backward), counted by hand layer by layer:
# bfloat16 activations, statistics one read, BatchNorm + ReLU + sum one pass, as XLA fuses. The
# CPU compiler's own count is of a program that fuses less, in float32 (docs/benchmarks.md).
# Whole MB, as the page states them.
HBM_BYTES = {net: round(rooflines.by_hand(net, 224, "bfloat16").bytes, -6) for net in NETS}
# Rate over the yardstick's that the goals mean (launch/README.md: 10,500/s on an H100, 26,000/s on
# eight v5e; 85,000/s on eight v5p). ResNet-18's share is taken for ResNet-50.
GOAL = {"H100": 0.68, "v5e": 0.93, "v5p": 1.05}
# $ a chip and hour, on demand. v5e, v5p: artificial-intelligence-wiki.com, "TPU v5 Guide"
# (2026-01-27). H100: $2.00 to $5.00 among providers, large clouds from 3.50 (mercatus-ai.com/blog/
# cloud-gpu-pricing, May 2026). Neither is the maker's page, none is an offer: ask where you rent.
PRICE = {"v5e": 1.20, "v5p": 4.20, "H100": 3.50}


def gather(fabric: Fabric, devices: int, size: float) -> float:
    """Seconds until each device has all of `size` bytes; half of it lies in each half of them."""
    one_way = fabric.latency(devices) / 2
    return one_way + size / fabric.rate(devices) + size / 2 / fabric.between(devices)


def reduce(fabric: Fabric, devices: int, size: float) -> float:
    """Seconds of a sum over devices: a scattered sum, then a gather of it."""
    return 2 * gather(fabric, devices, size)


def compute(fabric: Fabric, net: str, flops: float) -> float:
    """Seconds an image on one chip, products and memory one after the other: the yardstick R."""
    return flops / fabric.chip.flops + HBM_BYTES[net] / fabric.chip.bandwidth


def similarities(fabric: Fabric, devices: int, batch: int) -> float:
    """Seconds for the similarities of a device's rows with all: loss, its gradient, two metrics.

    Five products of float32, and about a dozen passes over the matrix (ours, from the formulas).
    """
    entries = (2 * batch / devices) * (2 * batch)
    return entries * (5 * 2 * PROJECTION / fabric.exact + 12 * 4 / fabric.chip.bandwidth)


def matrix(devices: int, batch: int, rows: int = 0) -> float:
    """Bytes of a device's part of the similarities, float32; of a block of `rows` of them alone."""
    return 4 * (2 * batch) * (rows or 2 * batch) / devices


def talk(fabric: Fabric, devices: int, each: int, said: dict[str, list[int]]) -> float:
    """Seconds of the loss's and the metrics' collectives.

    What is gathered and summed grows with the batch, what is permuted with the patches a device,
    what is exchanged with both: it is a device's part of the similarities.
    """
    (sums, summed), (gathers, gathered) = said["sums"], said["gathers"]
    single = said["permutes"][0] + said["exchanges"][0]
    grown = each / weak_scaling.EACH
    all_meet = grown * devices / SMALL
    seconds = reduce(fabric, devices, all_meet * summed) + gather(
        fabric, devices, all_meet * gathered
    )
    moved = grown * (said["permutes"][1] + all_meet * said["exchanges"][1])
    seconds += moved / fabric.rate(devices)
    return seconds + (2 * (sums - 1) + gathers - 1 + single) * fabric.latency(devices) / 2


class Step(NamedTuple):
    """Seconds of one step, part by part; nothing is hidden behind anything else."""

    compute: float
    statistics: float
    gradients: float
    loss: float
    similarities: float

    @property
    def total(self) -> float:
        """Of all parts."""
        return sum(self)


def step(kind: str, net: str, devices: int, each: int, read: "Read", share: float = 1.0) -> Step:
    """A step of `each` patches on each of `devices` chips.

    Args:
      read: of the compiled program of `net`.
      share: of the yardstick's rate that the computation reaches.
    """
    fabric, batch = FABRICS[kind], devices * each
    said, own = read.said, each * compute(fabric, net, read.flops) / share
    if devices == 1:
        return Step(own, 0, 0, 0, similarities(fabric, 1, batch))
    count, size = said["statistics"]
    statistics = (count - 1) * fabric.latency(devices) + reduce(fabric, devices, size)
    gradients = reduce(fabric, devices, said["gradients"][1])
    loss = talk(fabric, devices, each, said)
    return Step(own, statistics, gradients, loss, similarities(fabric, devices, batch))


def efficiency(kind: str, net: str, devices: int, each: int, read: "Read") -> float:
    """One chip's time for the same patches a chip, over that of the many."""
    alone = step(kind, net, 1, each, read).total
    return alone / step(kind, net, devices, each, read).total


def least(kind: str, net: str, devices: int, read: "Read", part: str, share: float = 0.05) -> int:
    """The fewest patches a chip with which `part` takes no more than `share` of the step."""
    for each in range(1, 4096):
        found = step(kind, net, devices, each, read)
        if getattr(found, part) <= share * found.total:
            return each
    raise ValueError(f"{part} takes more than {share} of any step")


def bounds(kind: str, net: str, devices: int, read: "Read", share: float = 0.05) -> list[int]:
    """The patches in all with which loss and similarities take no more than `share` of the step.

    Powers of two, whether they fit or not: the least and the most; empty where there are none.
    """
    fits = []
    for power in range(15):
        found = step(kind, net, devices, 2**power, read)
        if found.loss + found.similarities <= share * found.total:
            fits.append(devices * 2**power)
    return fits[:1] + fits[-1:]


class Read(NamedTuple):
    """What was read of a net's compiled program.

    Fields:
      flops: an image, the compiler's count at 224 px.
      temporaries: bytes an image, float32.
      said: instructions and bytes of each part, on eight devices.
    """

    flops: float
    temporaries: float
    said: dict[str, list[int]]


def read_of(rows: list[dict], net: str) -> Read:
    """From what `--compile` keeps."""
    (alone,) = (row for row in rows if row["arch"] == net and row["devices"] == 1)
    (eight,) = weak_scaling.choose(rows, net, devices=SMALL)
    return Read(alone["flops"], alone["temporaries"], eight["said"])


def table(head: str, cells: list[list[str]]) -> str:
    """Markdown; `head` is its columns, divided by |."""
    columns = head.split("|")
    lines = [columns, ["---"] * len(columns), *cells]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def said_table(rows: list[dict]) -> str:
    """Collectives by number of devices, six patches on each."""
    cells = []
    for net in NETS:
        shown = [*weak_scaling.choose(rows, net), *weak_scaling.choose(rows, net, px=96)]
        for row in sorted(shown, key=lambda row: (row["px"], row["devices"])):
            cells.append([net, str(row["px"]), str(row["devices"])])
            cells[-1] += [f"{count:,} · {size:,}" for count, size in row["said"].values()]
            cells[-1] += [str(row["missing"])]
    head = "net|px|devices|statistics|gradients|other sums|gathers|permutes|exchanges|not found"
    return table(head, cells)


def weak_table(reads: dict[str, Read]) -> str:
    """Fixed patches a chip."""
    cells = []
    for net in NETS:
        for kind, fabric in FABRICS.items():
            for devices in (8, 64, 512):
                each = fabric.batch[net]
                found = step(kind, net, devices, each, reads[net])
                shares = [f"{part / found.total:.1%}" for part in found[1:]]
                ratio = efficiency(kind, net, devices, each, reads[net])
                rate = devices * each / found.total
                cells.append([net, kind, str(devices), f"{each} · {devices * each:,}"])
                cells[-1] += [f"{1e3 * found.total:,.1f}", *shares, f"{ratio:.0%}", f"{rate:,.0f}"]
    head = "net|chip|chips|patches a chip · in all|step, ms|statistics|gradients|loss's talk"
    return table(head + "|similarities|efficiency|images/s", cells)


def strong_table(reads: dict[str, Read]) -> str:
    """Fixed patches in all."""
    cells = []
    for net in NETS:
        for kind, fabric in FABRICS.items():
            for batch in (512, 4096):
                line = [net, kind, f"{batch:,}"]
                for devices in (8, 64, 512):
                    each = batch // devices
                    if each * reads[net].temporaries / 2 > fabric.chip.memory:  # in bfloat16
                        line.append("does not fit")
                        continue
                    found = step(kind, net, devices, each, reads[net])
                    ratio = efficiency(kind, net, devices, each, reads[net])
                    line.append(f"{1e3 * found.total:,.1f} ms · {ratio:.0%}")
                cells.append(line)
    return table("net|chip|batch|8 chips|64|512", cells)


def cost_table(reads: dict[str, Read]) -> str:
    """Of the paper's run in the weak regime, at the yardstick's rate and at the goal's."""
    cells = []
    for net in NETS:
        for kind, fabric in FABRICS.items():
            for devices in (8, 64, 512):
                line = [net, kind, str(devices)]
                for share in (1.0, GOAL[kind]):
                    each = fabric.batch[net]
                    seconds = step(kind, net, devices, each, reads[net], share).total
                    hours = PASSES / (devices * each / seconds) / 3600
                    paid = f"${devices * hours * PRICE[kind]:,.0f}"
                    line += [f"{hours:,.2f}", f"{devices * hours:,.0f}", paid]
                cells.append(line)
    head = "net|chip|chips|at R: hours|chip-hours|at PRICE|at the goal: hours|chip-hours|at PRICE"
    return table(head, cells)


def onset_table(reads: dict[str, Read]) -> str:
    """Where statistics and loss take more than 5 % of the step."""
    cells = []
    for net in NETS:
        for kind in FABRICS:
            line = [net, kind]
            for devices in (8, 64, 512):
                fewest = least(kind, net, devices, reads[net], "statistics")
                between = bounds(kind, net, devices, reads[net])
                line += [f"{fewest:,}", " – ".join(f"{each:,}" for each in between) or "nowhere"]
            cells.append(line)
    head = ["net", "chip"]
    for devices in (8, 64, 512):
        head += [f"{devices}: statistics, patches a chip from", "loss, patches in all"]
    return table("|".join(head), cells)


def matrix_table() -> str:
    """Of the similarities, by global batch and devices."""
    cells = [
        [f"{batch:,}", f"{2 * batch * PROJECTION * 4 / 1e6:,.1f} MB"]
        + [f"{matrix(devices, batch) / 1e6:,.0f} MB" for devices in (1, 8, 64, 512)]
        + [f"{matrix(8, batch, rows=1024) / 1e6:,.0f} MB"]
        for batch in (512, 4096, 32768, 262144)
    ]
    return table("batch|one gather|1 device|8|64|512|8, a block of 1,024 rows", cells)


def latency_table() -> str:
    """What the smallest sum costs, and how fast much arrives."""
    cells = []
    for kind, fabric in FABRICS.items():
        for devices in (8, 64, 512):
            rate, latency = fabric.rate(devices), fabric.latency(devices)
            sides = " × ".join(map(str, TORUS[kind][devices])) if kind in TORUS else ""
            sides += " × 2 pods" if fabric.between(devices) < math.inf else ""
            shape = sides or f"{devices // 8} × 8"
            cells.append([kind, str(devices), shape, f"{1e6 * latency:.0f} µs"])
            cells[-1] += [f"{rate / 1e9:.0f} GB/s"]
    return table("chip|chips|shape|smallest sum|what a chip receives", cells)


def tables(rows: list[dict]) -> dict[str, str]:
    """Every table by its name in docs/scaling.md."""
    reads = {net: read_of(rows, net) for net in NETS}
    return {
        "weak": weak_table(reads),
        "strong": strong_table(reads),
        "cost": cost_table(reads),
        "onset": onset_table(reads),
        "matrix": matrix_table(),
        "latency": latency_table(),
        "said": said_table(rows),
    }


def filled(text: str, made: dict[str, str]) -> str:
    """The page with each table between its two marks."""
    for name, lines in made.items():
        before, found, rest = text.partition(f"<!-- {name} -->\n")
        _, end, after = rest.partition("<!-- end -->")
        if not (found and end):
            raise SystemExit(f"{PLACE}: no place for the table {name}")
        text = before + found + lines + "\n" + end + after
    return text


def main() -> None:
    """Prints the tables, or writes them."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--compile", action="store_true", help="compile the step again first")
    parser.add_argument("--write", action="store_true", help="into docs/scaling.md")
    args = parser.parse_args()
    if args.compile:
        COMPILED.write_text(json.dumps(weak_scaling.compile_all(), indent=1) + "\n")
    made = tables(json.loads(COMPILED.read_text()))
    if args.write:
        PLACE.write_text(filled(PLACE.read_text(), made))
    else:
        for name, lines in made.items():
            print(f"\n{name}\n\n{lines}")


if __name__ == "__main__":
    main()
