"""FLOPs and bytes of an image, and what share of a chip's peaks a rate is.

Counted twice: by the compiler, of the program that ran, and by hand, of the mathematics. A share
says which of them it refers to.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from jax.sharding import Mesh

from histo_simclr import chips
from histo_simclr.model import resnet

UNKNOWN = "not known for this device"

Rows = list[tuple[str, str, str]]


class Work(NamedTuple):
    """FLOPs and bytes of one image, or of another unit of work; None where nothing says them."""

    flops: float | None
    bytes: float | None


def measured(
    program: Any, model: Work | None, *, rate: float, batch: int, mesh: Mesh
) -> tuple[dict[str, Any], Rows]:
    """`by_compiler` of a program, and `shares` at the rate at which it ran."""
    found = by_compiler(program, batch=batch, devices=mesh.size)
    counted = Work(found["flops_per_image"], found["bytes_per_image"])
    kind = mesh.devices.flat[0].device_kind
    values, rows = shares(counted, model, rate=rate, devices=mesh.size, kind=kind)
    return found | values, counted_rows(found) + rows


class Convolution(NamedTuple):
    """One layer: side of its kernel; channels and side of its input, and of its output."""

    kernel: int
    fan_in: int
    side: int
    out: int
    out_side: int
    ends_block: bool = False


def by_hand(arch: str, px: int, precision: str) -> Work:
    """Of one patch, that is two views, forward and backward, layer by layer.

    Of the model, whatever the program does beside it (views, rematerialization, optimizer). FLOPs
    of its convolutions, 2 a multiply-add, taps on the border included. Bytes of activations as XLA
    fuses at best: each convolution reads and writes its own, batch statistics are one read,
    normalization, ReLU and sum one pass, backward two.
    """
    flops = moved = 0
    for layer in convolutions(arch, px):
        read, written = layer.fan_in * layer.side**2, layer.out * layer.out_side**2
        passes = 2 if layer.fan_in == 3 else 3  # no gradient of the pictures themselves
        flops += passes * 2 * layer.kernel**2 * layer.fan_in * written
        moved += passes * (read + written)
        # Statistics 1; forward 2; backward a reduction of 2 and a pass of 3; a shortcut 1 and 1.
        moved += (8 + 2 * layer.ends_block) * written
    half = _halved(px)
    moved += 2 * 64 * (half**2 + _halved(half) ** 2)  # the pooling after the stem
    width = {"bfloat16": 2, "float32": 4}[precision]
    return Work(2 * flops, 2 * width * moved)


def convolutions(arch: str, px: int) -> Iterator[Convolution]:
    """Those of a ResNet on a view of px (arXiv 1512.03385, table 1); stages round sides up."""
    side, fan_in = _halved(px), 64
    yield Convolution(7, 3, px, fan_in, side)
    side = _halved(side)
    for width, count in zip(resnet.STAGE_WIDTHS, resnet.STAGE_BLOCKS[arch], strict=True):
        for index in range(count):
            out = _halved(side) if width > 64 and index == 0 else side
            last = 4 * width if arch in resnet.BOTTLENECKS else width
            if fan_in != last:
                yield Convolution(1, fan_in, side, last, out)
            if arch in resnet.BOTTLENECKS:
                yield Convolution(1, fan_in, side, width, side)
                yield Convolution(3, width, side, width, out)
                yield Convolution(1, width, out, last, out, ends_block=True)
            else:
                yield Convolution(3, fan_in, side, width, out)
                yield Convolution(3, width, out, width, out, ends_block=True)
            side, fan_in = out, last


def _halved(side: int) -> int:
    return (side + 1) // 2


def by_compiler(
    program: Any, *, batch: int, devices: int, unit: str = "image"
) -> dict[str, float | None]:
    """The compiler's cost analysis.

    It counts a FLOP for each elementwise operation, and all bytes that its instructions read or
    write, as if there were no caches; the body of a loop once, so too little of gradient caching
    (compute.microbatches), of similarities in blocks (compute.similarity_rows) and of the probe.

    Args:
      program: `jax.stages.Compiled`; what it analyzes is one device's part.
      batch: units of work in one call, on all devices together: patches a step.
      devices: their number.
      unit: names the keys.

    Returns:
      flops_per_image, bytes_per_image, None where it does not say; temp_mib of one device.
    """
    found = program.cost_analysis() or {}
    flops, moved = found.get("flops"), found.get("bytes accessed")
    return {
        f"flops_per_{unit}": flops and flops * devices / batch,
        f"bytes_per_{unit}": moved and moved * devices / batch,
        "temp_mib": round(program.memory_analysis().temp_size_in_bytes / 2**20),
    }


def counted_rows(found: dict[str, Any], *, unit: str = "image") -> Rows:
    """`by_compiler` for the table."""
    amounts = [
        f"{amount:.4g} {what}" if amount else f"{what} {UNKNOWN}"
        for what in ("FLOPs", "bytes")
        for amount in [found[f"{what.lower()}_per_{unit}"]]
    ]
    temporaries = f"temporaries {found['temp_mib']:,} MiB a device"
    return [(f"per {unit}, by the compiler", ", ".join(amounts), temporaries)]


def shares(
    counted: Work | None,
    model: Work | None,
    *,
    rate: float,
    devices: int,
    kind: str,
    unit: str = "image",
) -> tuple[dict[str, Any], Rows]:
    """Shares of the peaks of one chip; of FLOPs that is the peak in bfloat16.

    Args:
      counted: of `by_compiler`; None: it cannot count this program.
      model: of `by_hand`; None: nothing was counted by hand.
      rate: images/s, or units of work a second, of all devices together.
      devices: their number.
      kind: `jax.Device.device_kind`.
      unit: names the keys of `model`.

    Returns:
      mfu, bandwidth_share_hand, roof_share and r_share, by hand; flops_share_counted and
      bandwidth_share_counted, by the compiler. None on a chip that is not known. And the rows.
    """
    chip, each = chips.of(kind), rate / devices
    values = {"chip": chip and chip.name}
    pairs = []
    if counted is not None:
        pairs += [("flops_share_counted", counted.flops, "flops")]
        pairs += [("bandwidth_share_counted", counted.bytes, "bandwidth")]
    if model is not None:
        values |= {f"hand_flops_per_{unit}": model.flops, f"hand_bytes_per_{unit}": model.bytes}
        pairs += [("mfu", model.flops, "flops"), ("bandwidth_share_hand", model.bytes, "bandwidth")]
    for name, amount, peak in pairs:
        known = chip is not None and amount is not None
        values[name] = amount * each / getattr(chip, peak) if known else None
    if model is not None:
        parts = [values["mfu"], values["bandwidth_share_hand"]]
        values["roof_share"] = max(parts) if chip else None
        values["r_share"] = sum(parts) if chip else None
    return values, _share_rows(values, chip)


def _share_rows(values: dict[str, Any], chip: chips.Chip | None) -> Rows:
    if chip is None:
        return [("share of the roofline", UNKNOWN, "histo_simclr/chips.py lists those known")]
    peaks = f" of {chip.flops / 1e12:.0f} TFLOP/s (bf16)", f" of {chip.bandwidth / 1e12:.2f} TB/s"
    rows = [
        ("mfu", "model FLOP utilization", "FLOPs by hand" + peaks[0]),
        ("flops_share_counted", "FLOPs by the compiler", peaks[0].strip()),
        ("bandwidth_share_hand", "bandwidth, by hand", "bytes at best" + peaks[1]),
        ("bandwidth_share_counted", "bandwidth, by the compiler", "its bytes" + peaks[1]),
        ("roof_share", "roofline", "by hand; FLOPs and bytes overlap"),
        ("r_share", "yardstick R", "by hand; first the FLOPs, then the bytes, no overlap"),
    ]
    return [
        (label, UNKNOWN if values[name] is None else f"{values[name]:.1%}", note)
        for name, label, note in rows
        if name in values
    ]
