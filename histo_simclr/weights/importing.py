"""`histo-simclr import`: foreign weights → a folder that every command takes for a checkpoint."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from histo_simclr import checkpoint, fingerprint, freed_memory
from histo_simclr.errors import InputError
from histo_simclr.model.resnet import ARCHS
from histo_simclr.weights import foreign, sources


def add_arguments(sub: argparse.ArgumentParser) -> None:
    """Flags of the command."""
    named = ", ".join(each.name for each in sources.SOURCES)
    sub.add_argument("file", type=Path, help="file of weights, or a folder of timm or Hugging Face")
    sub.add_argument("--out", type=Path, required=True, help="folder to write; must not be there")
    sub.add_argument("--arch", choices=ARCHS, default="", help="what it must be")
    colors = {"type": _colors, "metavar": "R,G,B"}
    sub.add_argument("--mean", **colors, help="that it expects, of pixels in [0, 1]")
    sub.add_argument("--std", **colors, help="that it expects, of pixels in [0, 1]")
    sub.add_argument("--px", type=int, default=0, help="side of the patches it was trained on")
    sub.add_argument(
        "--mpp", type=_numbers, default=(), metavar="µM/PX[,…]", help="that it was trained on"
    )
    sub.add_argument("--source", default="", help=f"where it is from: {named}")
    sub.add_argument("--license", default="", help="of the weights, SPDX")


def _numbers(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text} is not numbers with commas between") from error


def _colors(text: str) -> tuple[float, ...]:
    found = _numbers(text)
    if len(found) != 3:
        raise argparse.ArgumentTypeError(f"{text} is not three numbers: red, green, blue")
    return found


def run(args: argparse.Namespace) -> None:
    """Imports, and says what became of every key."""
    said = {
        name: getattr(args, name)
        for name in ("arch", "mean", "std", "px", "mpp", "source", "license")
    }
    with freed_memory.given_back():
        out, found = _imported(args.file, args.out, **said)
    print("\n".join(described(found, out)))


def import_weights(
    file: str | Path,
    out: str | Path,
    *,
    arch: str = "",
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    px: int = 0,
    mpp: Sequence[float] = (),
    source: str = "",
    license: str = "",
) -> Path:
    """Foreign weights → a folder that `load_encoder` and every command take for a checkpoint.

    Args:
      file: file of torch, safetensors, npz or ONNX, or a folder of timm or Hugging Face.
      out: folder to write; appears whole or not at all.
      arch: what it must be; "" to believe the tensors.
      mean, std: per channel of pixels in [0, 1]; None where the file or its source says it.
      px: side of the patches that it was trained on; 0: as the file says, else 224.
      mpp: µm/px that it was trained on; () when unknown.
      source: a named source, such as "ciga", for files that are not known by themselves.
      license: of the weights, SPDX.

    Returns:
      The folder.

    Raises:
      InputError: see `weights.foreign.translate`; or `out` is there, or cannot be written.
    """
    said = {"arch": arch, "mean": mean, "std": std, "px": px, "mpp": mpp}
    return _imported(file, out, **said, source=source, license=license)[0]


def _imported(
    file: str | Path, out: str | Path, **said: object
) -> tuple[Path, foreign.Translation]:
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        # Before the work, which takes seconds; writing asks again.
        raise InputError("is there already", where=out, way_out="remove it or give another place")
    found = foreign.translate(file, **said)
    return checkpoint.write_encoder(out, found.encoder, found.provenance), found


def described(found: foreign.Translation, out: Path) -> list[str]:
    """Lines that say what was loaded, what was not and why, what it expects, and what is next."""
    plan, provenance, contents = found.plan, found.provenance, found.contents
    origin = provenance.origin
    lines = [
        f"{contents.file}: {plan.arch}, {contents.format}, layout of {plan.layout}",
        f"loaded      {len(plan.loaded)} tensors, missing 0",
    ]
    lines += [
        f"left out    {_few(keys)}: {reason}"
        for reason, keys in foreign.left_out(contents, plan).items()
    ]
    lines += [
        f"converted   {n} tensors of {dtype} to float32" for dtype, n in found.converted.items()
    ]
    told_by = found.known.told_by if found.known else "its label"
    mean, std = (",".join(f"{each:.6g}" for each in v) for v in (provenance.mean, provenance.std))
    mpp = ", ".join(f"{each:g}" for each in provenance.mpp) or "unknown (--mpp)"
    lines += [
        f"expects     (pixels / 255 - mean) / std, mean {mean}, std {std}, says {told_by}",
        f"trained on  {provenance.px} px, µm/px {mpp}",
    ]
    if found.known:
        terms = origin["license"].replace(sources.UNSTATED, "none stated")
        lines += [f"licence     {terms}"]
        lines += [f"{name:<11} {origin[name]}" for name in ("citation", "note") if origin[name]]
    stored = checkpoint.read_fingerprint(out)
    features = fingerprint.from_json(stored) if stored else np.zeros((0, 0))
    lines += [
        f"fingerprint {len(features)} patches, {features.shape[1]} features each, mean "
        f"{features.mean():.6g}, largest {features.max():.6g}",
        f"wrote       {out}",
        f"next        histo-simclr embed SLIDES --checkpoint {out} --out FEATURES"
        f"{'' if provenance.mpp else ' --mpp MPP'}",
    ]
    return lines


def _few(keys: list[str]) -> str:
    return f"{len(keys)} ({', '.join(keys[:2])}{', …' if len(keys) > 2 else ''})"
