"""The command `export`: a checkpoint → a file or folder that another ecosystem loads.

What was written is read again before it gets its name: formats that hold tensors must give the
same bits, formats that hold a program the same features of the embedded patches.
"""

import argparse
import contextlib
import functools
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from histo_simclr import checkpoint, encode, fingerprint, freed_memory
from histo_simclr.errors import InputError
from histo_simclr.model.resnet import ResNet
from histo_simclr.provenance import Provenance
from histo_simclr.weights import card_results, flat_files, foreign, names, timm_folder, usage
from histo_simclr.weights import label as labels

Writer = Callable[[ResNet, Provenance, dict[str, Any], Path], None]


class Format(NamedTuple):
    """One way to write an encoder.

    Fields:
      write: (encoder, provenance, label, out) → None.
      features_of: (path, (N, H, W, 3) uint8) → (N, D) float32, by the format's own ecosystem; None
        for formats that hold tensors, which `foreign` reads.
      says: what it is, in the help.
    """

    write: Writer
    features_of: Callable[[Path, np.ndarray], np.ndarray] | None
    says: str


# The three programs need packages of their own (extras), imported when asked for.
def _write_onnx(*arguments: Any) -> None:
    from histo_simclr.weights import onnx_graph

    onnx_graph.write(*arguments)


def _onnx_features(path: Path, patches: np.ndarray) -> np.ndarray:
    from histo_simclr.weights import onnx_graph

    return onnx_graph.features_of(path, patches)


def _write_saved_model(*arguments: Any) -> None:
    from histo_simclr.weights import saved_model

    saved_model.write(*arguments)


def _saved_model_features(path: Path, patches: np.ndarray) -> np.ndarray:
    from histo_simclr.weights import saved_model

    return saved_model.features_of(path, patches)


def _write_jax(*arguments: Any) -> None:
    from histo_simclr.weights import jax_program

    jax_program.write(*arguments)


def _jax_features(path: Path, patches: np.ndarray) -> np.ndarray:
    from histo_simclr.weights import jax_program

    return jax_program.features_of(path, patches)


FORMATS = {
    "torch": Format(flat_files.write_torch, None, "state dict of torchvision, and a JSON beside"),
    "timm": Format(timm_folder.write, None, "folder for timm and transformers"),
    "safetensors": Format(flat_files.write_safetensors, None, "one file, torchvision's names"),
    "hf": Format(timm_folder.write, None, "timm's folder with the whole model card, for the Hub"),
    "onnx": Format(_write_onnx, _onnx_features, "one file, normalization inside"),
    "savedmodel": Format(
        _write_saved_model, _saved_model_features, "TensorFlow's folder, likewise"
    ),
    "npz": Format(flat_files.write_npz, None, "one file of numpy arrays, torchvision's names"),
    "jax": Format(_write_jax, _jax_features, "a jax.export program, normalization inside"),
}


class Exported(NamedTuple):
    """What `export_checked` did.

    Fields:
      path: what was written.
      provenance: of the encoder.
      difference: largest difference of the features of the embedded patches, relative to the
        largest feature, between the checkpoint and what was written, read again.
      model_sha256: digest of the weights.
    """

    path: Path
    provenance: Provenance
    difference: float
    model_sha256: str


def add_arguments(sub: argparse.ArgumentParser) -> None:
    """Adds the flags of `histo-simclr export`."""
    sub.add_argument("checkpoint", type=Path, help="workdir, one step's folder, or imported folder")
    says = "; ".join(f"{name}: {each.says}" for name, each in FORMATS.items())
    sub.add_argument("--format", required=True, choices=FORMATS, help=says)
    sub.add_argument("--out", type=Path, required=True, help="file or folder to write")
    sub.add_argument(
        "--results",
        type=Path,
        nargs="+",
        default=[],
        metavar="SUITE",
        help="workdirs of configs/evaluate.py that judged the checkpoint, for the card of --format "
        "hf; the checkpoint's own linear evaluations are found",
    )


def run(args: argparse.Namespace) -> None:
    """`histo-simclr export`: writes, and prints how to load it."""
    with freed_memory.given_back():
        done = export_checked(args.checkpoint, args.format, args.out, results=args.results)
    looks = done.provenance
    mpp = ", ".join(f"{value:g}" for value in looks.mpp if value) or "unknown"
    print(
        f"wrote {done.path}: {looks.arch}, {looks.px} px, µm/px {mpp}, "
        f"mean {looks.mean}, std {looks.std}\n"
        f"  checked    read again; features of {fingerprint.COUNT} patches differ by "
        f"{done.difference:.1e} of the largest\n"
        f"  weights    {done.model_sha256}\n\n"
        f"{usage.example(args.format, looks, done.path)}"
    )


def export(checkpoint: str | Path, format: str, out: str | Path) -> Path:
    """Writes the encoder of a checkpoint for another ecosystem.

    Args:
      checkpoint: workdir, one step's folder, or imported folder.
      format: one of FORMATS.
      out: file or folder to write; must not be there.

    Returns:
      `out`.

    Raises:
      InputError: no whole checkpoint, unknown format, `out` is there or cannot be written, or what
        was written does not give the same features.
    """
    return export_checked(checkpoint, format, out).path


def export_checked(
    source: str | Path, format_name: str, out: str | Path, *, results: list[Path] | None = None
) -> Exported:
    """`export`, with what was found.

    Args:
      source, format_name, out: as `export`.
      results: workdirs of suites, for the model card of "hf".
    """
    chosen, out = _chosen(format_name), Path(out).absolute()
    if results and format_name != "hf":
        raise InputError(
            f"--format {format_name} has no table of results",
            where="--results",
            way_out="give --format hf, or leave it out",
        )
    _refuse_existing(out, *([flat_files.sidecar(out)] if format_name == "torch" else []))
    encoder, provenance, step_dir = checkpoint.load_encoder(source)
    provenance = provenance.published()
    write = chosen.write
    if format_name == "hf":
        found = card_results.find(step_dir, tuple(results or ()))
        write = functools.partial(write, results=found)
    with _whole(out) as written:
        label = labels.label(encoder, provenance) | _step(step_dir)
        if chosen.features_of is not None:
            encode.forget()  # another program gives the features from here on
        write(encoder, provenance, label, written)
        del encoder  # so that two are never held at once
        if chosen.features_of is None:
            difference = _reread(written, label)
        else:
            difference = _rerun(chosen.features_of, written, label)
    return Exported(out, provenance, difference, label["model_sha256"])


def _chosen(format_name: str) -> Format:
    if format_name not in FORMATS:
        raise InputError(
            f"cannot be {format_name!r}",
            where="format",
            way_out=f"choose from {', '.join(FORMATS)}",
        )
    return FORMATS[format_name]


def _reread(written: Path, label: dict[str, Any]) -> float:
    """Difference of the features after reading; the weights must be the same to the bit."""
    contents = foreign.tensors_of(written)
    looks = labels.read(contents.label, where=written).provenance
    same = labels.model_sha256(contents.tensors) == label["model_sha256"]
    encoder = names.from_torch(contents.tensors, looks.arch)
    found = fingerprint.compute(encoder, px=looks.px, mean=looks.mean, std=looks.std)
    difference = fingerprint.difference(found, fingerprint.from_json(label["fingerprint"]))
    _refuse_difference(difference if same else float("inf"), written)
    return difference


def _rerun(
    features_of: Callable[[Path, np.ndarray], np.ndarray], written: Path, label: dict[str, Any]
) -> float:
    """Difference of the features that the program gives from the encoder's own."""
    found = features_of(written, fingerprint.patches())
    difference = fingerprint.difference(found, fingerprint.from_json(label["fingerprint"]))
    _refuse_difference(difference, written)
    return difference


def _refuse_difference(difference: float, written: Path) -> None:
    if difference > fingerprint.TOLERANCE:
        raise InputError(
            f"does not give the checkpoint's features when it is read again (difference "
            f"{difference:.1g} of the largest, tolerance {fingerprint.TOLERANCE:g}); nothing is "
            "left of it",
            where=written.name,
            way_out="try another disk; if it happens again, report it as a defect",
        )


def _step(folder: Path) -> dict[str, int]:
    """Of a run's checkpoint, which is one step's folder; empty of imported ones."""
    is_step = folder.parent.name == checkpoint.FOLDER and folder.name.isdigit()
    return {"step": int(folder.name)} if is_step else {}


def _refuse_existing(*paths: Path) -> None:
    for path in paths:
        if path.exists() or path.is_symlink():
            raise InputError(
                "is there already", where=path, way_out="remove it or give another --out"
            )


@contextlib.contextmanager
def _whole(out: Path) -> Iterator[Path]:
    """Gives a place to write to; all that lies there takes its name when the block ends well.

    Raises:
      InputError: the operating system refuses: no permission, disk full, a file as a folder.
    """
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as folder:
            yield Path(folder) / out.name
            # What lies beside comes first: `out` is there only when all is.
            parts = sorted(Path(folder).iterdir(), key=lambda part: part.name == out.name)
            _refuse_existing(*(out.parent / part.name for part in parts))
            for part in parts:
                part.rename(out.parent / part.name)
            _flush(out.parent)
    except OSError as error:
        raise InputError(
            f"cannot be written ({error.strerror or error})",
            where=out,
            way_out="make room or give a writable --out",
        ) from error


def _flush(folder: Path) -> None:
    """Makes the new names durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
