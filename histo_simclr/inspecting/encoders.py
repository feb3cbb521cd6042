"""What a checkpoint is, or a file or folder of weights: ours, or of another project."""

import importlib.util
from pathlib import Path
from typing import Any

from flax import nnx

from histo_simclr import checkpoint, fingerprint
from histo_simclr.errors import InputError
from histo_simclr.inspecting import results
from histo_simclr.model.resnet import ResNet
from histo_simclr.prepare import stages
from histo_simclr.provenance import Provenance
from histo_simclr.weights import exporting, foreign, label, names

MATCHES, ABSENT = "matches", "none stored: it was written before there were any"
# Format of what was read → name of the export, whose program is run beside its weights.
_PROGRAMS = {"ONNX": "onnx", "SavedModel": "savedmodel", "jax.export program": "jax"}


def of_checkpoint(path: Path, mix: Path | None) -> dict[str, Any]:
    """Of a workdir, a step's folder or an imported folder; the weights are read and checked."""
    encoder, provenance, step_dir = checkpoint.load_encoder(path)
    stored = checkpoint.read_fingerprint(step_dir)
    found = {"kind": "checkpoint", "place": str(step_dir)} | of_provenance(provenance, mix)
    found["weights"] = {
        "model_sha256": label.model_sha256(names.to_torch(encoder)),
        "digest": checkpoint.digest(step_dir),
        "fingerprint": MATCHES if stored else ABSENT,
    }
    if step_dir.parent.name == checkpoint.FOLDER:
        workdir = step_dir.parents[1]
        found["step"] = int(step_dir.name)
        kept = (each.name for each in step_dir.parent.iterdir() if each.name.isdigit())
        found["steps"] = sorted(map(int, kept))
        found["finished"] = (workdir / "finished.json").is_file()
        found["results"] = results.of_workdir(workdir, found["step"])
    return found


def of_weights(path: Path) -> dict[str, Any]:
    """Of what `export` wrote, whatever the format, and of weights of other projects."""
    contents = foreign.tensors_of(path)
    if contents.label is None:
        return _of_foreign(path, contents)
    told = label.read(contents.label, where=path)
    foreign.read(path)  # refuses other weights, and other features, than its label states
    return {
        "kind": "export",
        "format": contents.format,
        "exported_by": contents.label.get("exported_by", ""),
        **of_provenance(told.provenance, None),
        "weights": {
            "model_sha256": told.model_sha256,
            "fingerprint": _of_program(path, contents.format, told),
        },
    }


def provenance_of(path: Path) -> Provenance | None:
    """Of a checkpoint or an export, its tensors unread; None of weights that carry none."""
    if checkpoint.is_checkpoint(path):
        return checkpoint.read_provenance(checkpoint.resolve(path))
    contents = foreign.tensors_of(path)
    return contents.label and label.read(contents.label, where=path).provenance


def of_provenance(provenance: Provenance, mix: Path | None) -> dict[str, Any]:
    """What is the same for everything that holds an encoder; see `stages.of_encoder` for mix."""
    seen = stages.of_encoder(provenance, mix)
    return {
        "encoder": {
            "arch": provenance.arch,
            "num_features": _width(provenance.arch),
            "px": provenance.px,
            "mean": list(provenance.mean),
            "std": list(provenance.std),
            "mpp": list(provenance.mpp),
            "head": [provenance.hidden, provenance.out] if provenance.out else [],
        },
        "origin": provenance.origin,
        "stages": seen,
        "related": stages.relations(seen),
        "terms": stages.terms_of(seen, "this encoder"),
        "config": provenance.config,
        "versions": provenance.versions,
        "revision": provenance.revision,
    }


def _of_program(path: Path, format_name: str, told: label.Label) -> str:
    """Of a program the weights are not all: it normalizes, and must do so as it did."""
    if format_name not in _PROGRAMS:
        return MATCHES
    if format_name == "ONNX" and importlib.util.find_spec("onnxruntime") is None:
        return f"{MATCHES} (by its weights; without onnxruntime its graph was not run)"
    features_of = exporting.FORMATS[_PROGRAMS[format_name]].features_of
    features = features_of(path, fingerprint.patches())
    fingerprint.compare(features, told.fingerprint, where=path)
    return MATCHES


def _of_foreign(path: Path, contents: foreign.Contents) -> dict[str, Any]:
    found = {"kind": "foreign weights", "format": contents.format}
    found["tensors"] = len(contents.tensors)
    try:
        encoder, provenance = foreign.read(path)
    except InputError as error:
        notes = [f"{error.what}; {error.way_out}"]
        return found | {"stages": [], "weights": _recognized(path, contents), "notes": notes}
    digest = label.model_sha256(names.to_torch(encoder))
    weights = {"model_sha256": digest, "fingerprint": "none: the file is not of histo_simclr"}
    return found | of_provenance(provenance, None) | {"weights": weights}


def _recognized(path: Path, contents: foreign.Contents) -> dict[str, str]:
    """What the tensors tell where nobody says what input they expect."""
    try:
        plan, digest = foreign.recognized(contents, path)
    except InputError:
        return {}
    return {"architecture": plan.arch, "layout": plan.layout, "model_sha256": digest}


def _width(arch: str) -> int:
    return nnx.eval_shape(lambda: ResNet(arch, rngs=nnx.Rngs(0))).num_features
