"""FLOPs and bytes of an image, and what share of a chip's peaks a rate is.

Counted twice: by the compiler, of the program that ran, and by hand, of the mathematics. A share
says which of them it refers to.
"""

from typing import Any, NamedTuple

from jax.sharding import Mesh

from histo_simclr import chips

# Of one patch at 224 px: two views, forward and backward; grow with the area. GFLOP of its
# convolutions, 2 a multiply-add, counted layer by layer (the tests count ResNet-18's again).
HAND_GFLOP = {"resnet18": 21.3, "resnet34": 43.5, "resnet50": 48.6, "resnet101": 93.1}
# MB of activations in bfloat16, as XLA fuses at best: each convolution reads and writes its own,
# batch statistics are one read, normalization, ReLU and sum one pass, backward two.
HAND_MB = {"resnet18": 146, "resnet34": 221, "resnet50": 665, "resnet101": 979}
UNKNOWN = "not known for this device"

Rows = list[tuple[str, str, str]]


class Work(NamedTuple):
    """FLOPs and bytes of one image."""

    flops: float
    bytes: float


def measured(
    program: Any, model: Work | None, *, rate: float, batch: int, mesh: Mesh
) -> tuple[dict[str, Any], Rows]:
    """`by_compiler` of a program, and `shares` at the rate at which it ran."""
    found = by_compiler(program, batch=batch, devices=mesh.size)
    kind = mesh.devices.flat[0].device_kind
    values, rows = shares(found, model, rate=rate, devices=mesh.size, kind=kind)
    return found | values, counted_rows(found) + rows


def by_hand(arch: str, px: int, precision: str) -> Work:
    """Of the model, whatever the program does beside it (views, rematerialization, optimizer)."""
    area, width = (px / 224) ** 2, {"bfloat16": 1, "float32": 2}[precision]
    return Work(1e9 * HAND_GFLOP[arch] * area, 1e6 * HAND_MB[arch] * area * width)


def by_compiler(program: Any, *, batch: int, devices: int) -> dict[str, float | None]:
    """The compiler's cost analysis.

    It counts a FLOP for each elementwise operation, and all bytes that its instructions read or
    write, as if there were no caches; the body of a loop once, so too little of gradient caching
    (compute.microbatches) and of similarities in blocks (compute.similarity_rows).

    Args:
      program: `jax.stages.Compiled`; what it analyzes is one device's part.
      batch: patches a step, on all devices together.
      devices: their number.

    Returns:
      flops_per_image, bytes_per_image, None where it does not say; temp_mib of one device.
    """
    found = program.cost_analysis() or {}
    flops, moved = found.get("flops"), found.get("bytes accessed")
    return {
        "flops_per_image": flops and flops * devices / batch,
        "bytes_per_image": moved and moved * devices / batch,
        "temp_mib": round(program.memory_analysis().temp_size_in_bytes / 2**20),
    }


def counted_rows(found: dict[str, Any]) -> Rows:
    """`by_compiler` for the table."""
    amounts = [
        f"{found[name]:.4g} {unit}" if found[name] else f"{unit} {UNKNOWN}"
        for name, unit in (("flops_per_image", "FLOPs"), ("bytes_per_image", "bytes"))
    ]
    temporaries = f"temporaries {found['temp_mib']:,} MiB a device"
    return [("an image, by the compiler", ", ".join(amounts), temporaries)]


def shares(
    found: dict[str, Any], model: Work | None, *, rate: float, devices: int, kind: str
) -> tuple[dict[str, Any], Rows]:
    """Shares of the peaks of one chip.

    Args:
      found: of `by_compiler`.
      model: of `by_hand`; None: a program without the model.
      rate: images/s of all devices together.
      devices: their number.
      kind: `jax.Device.device_kind`.

    Returns:
      mfu, bandwidth_share_hand, roof_share and r_share, by hand; flops_share_counted and
      bandwidth_share_counted, by the compiler. None on a chip that is not known. And the rows.
    """
    chip, each = chips.of(kind), rate / devices
    values = {"chip": chip and chip.name}
    counted = Work(found["flops_per_image"], found["bytes_per_image"])
    pairs = [("flops_share_counted", counted.flops, "flops")]
    pairs += [("bandwidth_share_counted", counted.bytes, "bandwidth")]
    if model is not None:
        values |= {"hand_flops_per_image": model.flops, "hand_bytes_per_image": model.bytes}
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
    peaks = f" of {chip.flops / 1e12:.0f} TFLOP/s", f" of {chip.bandwidth / 1e12:.2f} TB/s"
    rows = [
        ("mfu", "model FLOP utilization", "FLOPs by hand" + peaks[0]),
        ("flops_share_counted", "FLOPs by the compiler", peaks[0].strip()),
        ("bandwidth_share_hand", "bandwidth, by hand", "bytes as XLA fuses at best" + peaks[1]),
        ("bandwidth_share_counted", "bandwidth, by the compiler", "its bytes" + peaks[1]),
        ("roof_share", "roofline", "by hand; FLOPs and bytes overlap"),
        ("r_share", "yardstick R", "by hand; first the FLOPs, then the bytes, no overlap"),
    ]
    return [
        (label, UNKNOWN if values[name] is None else f"{values[name]:.1%}", note)
        for name, label, note in rows
        if name in values
    ]
