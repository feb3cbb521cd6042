"""What is this? A path → its kind, and all that is known of it as plain JSON values."""

import json
from pathlib import Path
from typing import Any

from histo_simclr import checkpoint, records
from histo_simclr.errors import InputError
from histo_simclr.inspecting import encoders, features, results, was_seen
from histo_simclr.prepare import stages

WAY_OUT = (
    "give a checkpoint or workdir, a mix, a record set, weights in a file or folder, a folder with "
    "results.json, or features (.h5)"
)


def inspect(path: str | Path, *, mix: str | Path | None = None) -> dict[str, Any]:
    """All that a file or folder says of itself, checked where that is possible.

    Args:
      path: a workdir, step's folder or imported folder, a mix, a record set, what `export` wrote,
        weights of another project, the folder of an evaluation, or features of slides.
      mix: where the mix of an encoder lies now; None: where its run found it.

    Returns:
      JSON values. Always: path, kind, stages (what was seen, see `inspecting.stages`); the others
      depend on the kind.

    Raises:
      InputError: nothing there or nothing known, or it is damaged.
    """
    path, mix = Path(path), None if mix is None else Path(mix)
    if not path.exists():
        raise InputError("no such file or folder", where=path, way_out=WAY_OUT)
    found = {"path": str(path)} | _describe(path, mix)
    return json.loads(json.dumps(found, default=str))  # tuples and numpy's numbers are plain now


def seen(path: str | Path, name: str, *, mix: str | Path | None = None) -> was_seen.Answer:
    """Whether a cohort, slide or patient was seen by an encoder, or is in a mix or record set.

    Args:
      path, mix: see `inspect`; weights are not read.
      name: of a cohort (or an alias of the registry), a slide or a patient.

    Raises:
      InputError: what lies there saw nothing, or the name is probably a slip.
    """
    path, mix = Path(path), None if mix is None else Path(mix)
    if not path.exists():
        raise InputError("no such file or folder", where=path, way_out=WAY_OUT)
    return was_seen.answer(name, _stages(path, mix))


def _describe(path: Path, mix: Path | None) -> dict[str, Any]:
    if is_mix(path):
        return _of_data("mix", stages.of_mix(path), "this mix")
    if checkpoint.is_checkpoint(path):
        return encoders.of_checkpoint(path, mix)
    if record_set := record_set_of(path):
        return _of_data("record set", stages.of_record_set(record_set), "this record set")
    if folder := _results(path):
        return results.of_folder(folder)
    if files := features.files_of(path):
        return features.of_files(files)
    return encoders.of_weights(path)


def _stages(path: Path, mix: Path | None) -> list[dict[str, Any]]:
    """The same without reading weights."""
    if is_mix(path):
        return [stages.of_mix(path)]
    if not checkpoint.is_checkpoint(path):
        if record_set := record_set_of(path):
            return [stages.of_record_set(record_set)]
        if _results(path) or features.files_of(path):
            raise InputError(
                "was trained on nothing itself", where=path, way_out="ask its checkpoint"
            )
    provenance = encoders.provenance_of(path)
    if provenance is None:
        return [{"name": "whoever made these weights", "cohorts": None, "index": None}]
    return stages.of_encoder(provenance, mix)


def is_mix(path: Path) -> bool:
    """Whether it is a folder that `histo-simclr mix` wrote."""
    return (path / "mix.json").is_file()


def record_set_of(path: Path) -> Path | None:
    """The version folder of the record set here; None: there is none. Several: InputError."""
    if not path.is_dir() or not any(
        any(path.glob(f"{depth}manifest.parquet")) for depth in ("", "*/", "*/*/")
    ):
        return None
    return records.resolve_record_set(path)


def _results(path: Path) -> Path | None:
    folder = path.parent if path.name == results.FILE else path
    return folder if (folder / results.FILE).is_file() else None


def _of_data(kind: str, stage: dict[str, Any], what: str) -> dict[str, Any]:
    return {
        "kind": kind,
        "stages": [stage],
        "related": stages.relations([stage]),
        "terms": stages.terms_of([stage], what),
    }
