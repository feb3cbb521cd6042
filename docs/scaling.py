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
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import weak_scaling

from histo_simclr import chips

PLACE = Path(__file__).with_suffix(".md")
COMPILED = Path(__file__).with_suffix(".json")
DEVICES = (2, 4, 8, 64)
NETS = ("resnet18", "resnet50")

PASSES = 400e6  # patch passes of the paper's run: 400,000 patches x 1000 epochs
PROJECTION = 128  # width, float32
# Bytes of HBM an image (two views at 224 px, forward and backward), counted by hand layer by layer:
# bfloat16 activations, statistics one read, BatchNorm + ReLU + sum one pass, as XLA fuses. The
# CPU compiler's own count is of a program that fuses less, in float32 (docs/benchmarks.md).
HBM_BYTES = {"resnet18": 146e6, "resnet50": 665e6}
# Rate over the yardstick's that the goals mean (launch/README.md: 10,500/s on an H100, 26,000/s on
# eight v5e; v5p by the same reasoning). ResNet-18's share is taken for ResNet-50.
GOAL = {"H100": 0.68, "v5e": 0.93, "v5p": 1.05}
# $ a chip and hour, on demand. v5e, v5p: artificial-intelligence-wiki.com, "TPU v5 Guide"
# (2026-01-27). H100: $2.00 to $5.00 among providers, large clouds from 3.50 (mercatus-ai.com/blog/
# cloud-gpu-pricing, May 2026). Neither is the maker's page, none is an offer: ask where you rent.
PRICE = {"v5e": 1.20, "v5p": 4.20, "H100": 3.50}


class Fabric(NamedTuple):
    """What connects the chips of one kind.

    Fields:
      chip: its peaks.
      exact: FLOP/s of float32 products (`Precision.HIGHEST`), as the similarities are.
      batch: patches a chip of the weak regime, by net: what fits (see `memory`).
      latency: devices -> seconds of the smallest sum over all of them.
      rate: devices -> bytes/s at which a device receives what all of them have.
      between: devices -> bytes/s between two halves of them that a slower network joins; inf: none.
    """

    chip: chips.Chip
    exact: float
    batch: dict[str, int]
    latency: Callable[[int], float]
    rate: Callable[[int], float]
    between: Callable[[int], float]


# docs.cloud.google.com/tpu/docs/v5e, v5p (2026-11-27): shapes of slices; 400 and 1,200 GB/s a chip,
# both directions of four and six links together. A pod of v5e has 256 chips, so 512 are two.
TORUS = {
    "v5e": {8: (2, 4), 64: (8, 8), 256: (16, 16), 512: (16, 16)},
    "v5p": {8: (2, 2, 2), 64: (4, 4, 4), 256: (4, 8, 8), 512: (8, 8, 8)},
}
AXIS = {"v5e": 100e9, "v5p": 200e9}  # bytes/s into a chip from both sides of one axis
# A ring is closed on v5e when the axis has all 16 chips, on v5p when it is a multiple of 4; else
# half the links carry (jax-ml/scaling-book, tpus.md).
CLOSED = {"v5e": 16, "v5p": 4}
# Same book, sharding.md: about 1 us a hop; a small gather of three hops measured at 8 us.
HOP, TPU_FIXED = 1e-6, 5e-6
# v5e page: 6.4 Tbit/s of data center network a pod. Latency between pods: recalled, unsure.
V5E_BETWEEN, V5E_BETWEEN_LATENCY = 6.4e12 / 8, 50e-6
# NCCL's own model of a tree in its low-latency protocol (src/graph/tuning.cc; NVIDIA/nccl#1334).
NCCL_FIXED, NVLINK_HOP, NETWORK_HOP = 6.8e-6, 0.6e-6, 5.0e-6
# Of 450 GB/s one way 370 arrive (NVIDIA/nccl-tests#212), of 50 of each of the node's eight network
# cards 46 (nccl-tests#290).
NVLINK, RAILS = 370e9, 8 * 46e9


def hops(kind: str, devices: int) -> int:
    """Links between the two chips of a slice that are farthest apart."""
    closed = CLOSED[kind]
    return sum(side // 2 if side % closed == 0 else side - 1 for side in TORUS[kind][devices])


def tpu_latency(kind: str, devices: int) -> float:
    """There and back across the torus; and across the network where the slice is two pods."""
    between = V5E_BETWEEN_LATENCY if (kind, devices) == ("v5e", 512) else 0.0
    return TPU_FIXED + 2 * hops(kind, devices) * HOP + between


def tpu_rate(kind: str, devices: int) -> float:
    """All axes at once."""
    sides = TORUS[kind][devices]
    return sum(AXIS[kind] / (1 if side % CLOSED[kind] == 0 else 2) for side in sides)


def gpu_latency(devices: int) -> float:
    """Up and down a chain in each node and a tree over the nodes."""
    nodes = max(1, devices // 8)
    chain = (devices // nodes - 1) * NVLINK_HOP
    return NCCL_FIXED + 2 * (chain + math.log2(nodes) * NETWORK_HOP)


def _tpu(kind: str, name: str, batch: dict[str, int]) -> Fabric:
    chip = next(each for each in chips.CHIPS if each.name == name)
    return Fabric(
        chip,
        chip.flops / 6,  # HIGHEST is six bfloat16 products (recalled)
        batch,
        lambda devices: tpu_latency(kind, devices),
        lambda devices: tpu_rate(kind, devices),
        lambda devices: V5E_BETWEEN if (kind, devices) == ("v5e", 512) else math.inf,
    )


FABRICS = {
    "v5e": _tpu("v5e", "TPU v5e", {"resnet18": 256, "resnet50": 64}),
    "v5p": _tpu("v5p", "TPU v5p", {"resnet18": 512, "resnet50": 256}),
    "H100": Fabric(
        next(each for each in chips.CHIPS if each.name == "H100 SXM"),
        67e12,  # NVIDIA's data sheet, FP32 without tensor cores (recalled)
        {"resnet18": 512, "resnet50": 256},
        gpu_latency,
        lambda devices: NVLINK if devices <= 8 else RAILS,
        lambda devices: math.inf,
    ),
}


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
    """Bytes of similarities on a device, forward and backward one each; or of `rows` at a time."""
    return 2 * 4 * (2 * batch) * (rows or 2 * batch / devices)


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
    statistics = count * fabric.latency(devices) + size / fabric.rate(devices)
    projections = 2 * batch * PROJECTION * 4
    # The same projections three times, for loss and two metrics; the sum is the loss's gradient.
    loss = 3 * gather(fabric, devices, projections) + reduce(fabric, devices, projections)
    few = sum(said[part][0] for part in ("sums", "gathers", "permutes", "exchanges")) - 4
    loss += few * fabric.latency(devices) / 2
    gradients = reduce(fabric, devices, said["gradients"][1])
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


def most(kind: str, net: str, devices: int, read: "Read", share: float = 0.05) -> int:
    """The most patches a chip with which loss and similarities take no more than `share`."""
    fits = 0
    for power in range(14):
        found = step(kind, net, devices, 2**power, read)
        if found.loss + found.similarities <= share * found.total:
            fits = 2**power
    return fits


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
    (eight,) = _rows(rows, net, devices=8)
    return Read(alone["flops"], alone["temporaries"], eight["said"])


def _rows(rows: list[dict], net: str, **wanted: object) -> Iterator[dict]:
    wanted = {"arch": net, "px": 72, "precision": "float32"} | wanted
    return (row for row in rows if all(row[key] == value for key, value in wanted.items()))


def compile_all() -> list[dict]:
    """Compiles for every number of devices; and for other sizes, in bfloat16, on one device."""
    rows = []
    for net in NETS:
        asked = [{"devices": devices} for devices in DEVICES]
        asked += [{"devices": 8, "px": 96}, {"devices": 8, "precision": "bfloat16"}]
        asked += [{"devices": 1, "px": 224, "each": 64}]
        for each in asked:
            rows.append(weak_scaling.compiled(net, **each))
            print(rows[-1], flush=True)
    return rows


def table(head: str, cells: list[list[str]]) -> str:
    """Markdown; `head` is its columns, divided by |."""
    columns = head.split("|")
    lines = [columns, ["---"] * len(columns), *cells]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def said_table(rows: list[dict]) -> str:
    """Collectives by number of devices, six patches on each."""
    cells = []
    for net in NETS:
        shown = [*_rows(rows, net), *_rows(rows, net, px=96)]
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
    head = "net|chips||patches a chip · in all|step, ms|statistics|gradients|loss's talk"
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
                    if each > 2 * fabric.batch[net]:
                        line.append("does not fit")
                        continue
                    found = step(kind, net, devices, each, reads[net])
                    ratio = efficiency(kind, net, devices, each, reads[net])
                    line.append(f"{1e3 * found.total:,.1f} ms · {ratio:.0%}")
                cells.append(line)
    return table("net|chips|batch|8|64|512", cells)


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
    head = "net|chips||at R: hours|chip-hours|at PRICE|at the goal: hours|chip-hours|at PRICE"
    return table(head, cells)


def onset_table(reads: dict[str, Read]) -> str:
    """Where statistics and loss take more than 5 % of the step."""
    cells = []
    for net in NETS:
        for kind in FABRICS:
            line = [net, kind]
            for devices in (8, 64, 512):
                fewest = least(kind, net, devices, reads[net], "statistics")
                limit = most(kind, net, devices, reads[net])
                line += [f"{fewest:,}", f"{limit * devices:,}" if limit else "any"]
            cells.append(line)
    head = "net|chips|8: statistics below|loss above|64: statistics below|loss above"
    return table(head + "|512: statistics below|loss above", cells)


def matrix_table() -> str:
    """Of the similarities, by global batch and devices."""
    cells = [
        [f"{batch:,}", f"{2 * batch * PROJECTION * 4 / 1e6:,.1f} MB"]
        + [f"{matrix(devices, batch) / 1e6:,.0f} MB" for devices in (1, 8, 64, 512)]
        + [f"{matrix(1, batch, rows=1024) / 1e6:,.0f} MB"]
        for batch in (512, 4096, 32768, 262144)
    ]
    return table("batch|one gather|1 device|8|64|512|1,024 rows at a time", cells)


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
    return table("chips||shape|smallest sum|what a chip receives", cells)


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
        COMPILED.write_text(json.dumps(compile_all(), indent=1) + "\n")
    made = tables(json.loads(COMPILED.read_text()))
    if args.write:
        PLACE.write_text(filled(PLACE.read_text(), made))
    else:
        for name, lines in made.items():
            print(f"\n{name}\n\n{lines}")


if __name__ == "__main__":
    main()
