"""What a checkpoint is, or a file or folder of weights: ours, or of another project."""

import importlib.util
from pathlib import Path
from typing import Any

from flax import nnx

from histo_simclr import checkpoint, fingerprint, records
from histo_simclr.errors import InputError
from histo_simclr.inspecting import results
from histo_simclr.model.resnet import ResNet
from histo_simclr.prepare import stages
from histo_simclr.provenance import Provenance
from histo_simclr.weights import label, names

MATCHES, ABSENT = "matches", "none stored: it was written before there were any"
# Where compiled programs carry their label, below their folder.
_PROGRAMS = {
    "saved_model.pb": ("TensorFlow SavedModel", "assets.extra/histo_simclr.json", "saved_model"),
    "program.jax": ("jax.export program", "label.json", "jax_program"),
}


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
    for file, (what, place, module) in _PROGRAMS.items():
        if (path / file).is_file() and (path / place).is_file():
            return _of_program(path, what, path / place, module)
    from histo_simclr.weights import foreign

    contents = foreign.tensors_of(path)
    if contents.label is None:
        return _of_foreign(path, contents)
    told = label.read(contents.label, where=path)
    foreign.read(path)  # refuses other weights, and other features, than its label states
    checked = _of_graph(path, told) if contents.format == "ONNX" else MATCHES
    return _of_label(told, contents.label, f"{contents.format} file", checked)


def provenance_of(path: Path) -> Provenance | None:
    """Of a checkpoint or an export, its tensors unread; None of weights that carry none."""
    if checkpoint.is_checkpoint(path):
        return checkpoint.read_provenance(checkpoint.resolve(path))
    for file, (_, place, _) in _PROGRAMS.items():
        if (path / file).is_file() and (path / place).is_file():
            return label.read(records.read_json(path / place), where=path).provenance
    from histo_simclr.weights import foreign

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


def _of_graph(path: Path, told: label.Label) -> str:
    """Of an ONNX file the weights are not all: its graph normalizes, and must do so as it did."""
    if importlib.util.find_spec("onnxruntime") is None:
        return f"{MATCHES} (its weights'; without onnxruntime its graph was not run)"
    from histo_simclr.weights import onnx_graph

    features = onnx_graph.features_of(path, fingerprint.patches())
    fingerprint.compare(features, told.fingerprint, where=path)
    return MATCHES


def _of_program(path: Path, what: str, place: Path, module: str) -> dict[str, Any]:
    content = records.read_json(place)
    told = label.read(content, where=place)
    if module == "saved_model":
        from histo_simclr.weights import saved_model as program
    else:
        from histo_simclr.weights import jax_program as program
    features = program.features_of(path, fingerprint.patches())
    fingerprint.compare(features, told.fingerprint, where=path)
    return _of_label(told, content, what, MATCHES)


def _of_label(
    told: label.Label, content: dict[str, Any], what: str, checked: str
) -> dict[str, Any]:
    return {
        "kind": "export",
        "format": what,
        "exported_by": content.get("exported_by", ""),
        **of_provenance(told.provenance, None),
        "weights": {"model_sha256": told.model_sha256, "fingerprint": checked},
    }


def _of_foreign(path: Path, contents: Any) -> dict[str, Any]:
    from histo_simclr.weights import foreign

    found = {"kind": "foreign weights", "format": contents.format}
    found["tensors"] = len(contents.tensors)
    try:
        encoder, provenance = foreign.read(path)
    except InputError as error:
        return found | {"stages": [], "notes": [f"{error.what}; {error.way_out}"]}
    digest = label.model_sha256(names.to_torch(encoder))
    weights = {"model_sha256": digest, "fingerprint": "none: the file is not of histo_simclr"}
    return found | of_provenance(provenance, None) | {"weights": weights}


def _width(arch: str) -> int:
    return nnx.eval_shape(lambda: ResNet(arch, rngs=nnx.Rngs(0))).num_features
