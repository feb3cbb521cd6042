"""Croissant JSON-LD of a record set or a mix: its files with checksums, its columns with types.

Croissant 1.0 (mlcommons.org/croissant/1.0) with the responsible-AI terms. `creator` and
`datePublished` are left out: nobody said the first, and the second would let equal data differ.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow

from histo_simclr.records import PROVENANCE_FIELDS

# The context of the specification's version 1.0, whole: validators compare it.
_TERMS = (
    "citeAs column equivalentProperty extract field fileProperty fileObject fileSet format includes"
    " isLiveDataset jsonPath key md5 parentField path recordSet references regex repeated replace"
    " samplingRate separator source subField transform"
)
_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "sc": "https://schema.org/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    **{name: f"cr:{name}" for name in _TERMS.split()},
}
_MEANINGS = {name: meaning for name, (_, meaning) in PROVENANCE_FIELDS.items()} | {
    "label": "class; none when the set is unlabelled",
    "target": "number to predict",
    "split": "part of the set that the patch belongs to",
    "shard": "TFRecord file that holds the patch",
    "offset": "first byte of the serialized tf.train.Example",
    "length": "bytes of the Example",
    "crc": "masked CRC32C of the Example, as TFRecord stores it",
    "source": "file that the patch was made from, relative to the source folder",
    "source_sha256": "SHA-256 of that file",
    "pixels_sha256": "SHA-256 of the patch's shape and decoded pixels",
    "perceptual_hash": "64-bit DCT hash of the pixels",
    **{f"mean_{c}": f"mean of channel {c}, pixels in [0, 1]" for c in "rgb"},
    **{f"square_{c}": f"mean square of channel {c}, pixels in [0, 1]" for c in "rgb"},
}
_TYPES = {
    ".parquet": "application/x-parquet",
    ".json": "application/json",
    ".csv": "text/csv",
}


def document(
    folder: Path,
    files: Sequence[str],
    table: str,
    schema: pyarrow.Schema,
    facts: dict[str, str],
    rai: dict[str, str],
) -> dict[str, Any]:
    """The content of croissant.json.

    Args:
      folder: where the files lie.
      files: names of the files to list.
      table: name of the Parquet file among them whose columns are the fields.
      schema: of that file.
      facts: name, description, license, url, version, citeAs; what is empty is left out.
      rai: responsible-AI statements: dataCollection, dataBiases, dataLimitations,
        personalSensitiveInformation.
    """
    content = {"@context": _CONTEXT, "@type": "sc:Dataset"}
    content["conformsTo"] = [
        "http://mlcommons.org/croissant/1.0",
        "http://mlcommons.org/croissant/RAI/1.0",
    ]
    content |= {name: value for name, value in facts.items() if value}
    content |= {"isLiveDataset": False}
    content |= {f"rai:{name}": value for name, value in rai.items() if value}
    content["distribution"] = [_file(folder / name) for name in files]
    fields = [_field(field, table) for field in schema]
    content["recordSet"] = [
        {
            "@type": "cr:RecordSet",
            "@id": "patches",
            "name": "patches",
            "key": {"@id": "patches/key"},
            "field": fields,
        }
    ]
    return content


def _file(path: Path) -> dict[str, str]:
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    kind = "application/x-tfrecord" if ".tfrecord" in path.name else _TYPES[path.suffix]
    return {
        "@type": "cr:FileObject",
        "@id": path.name,
        "name": path.name,
        "contentUrl": path.name,
        "contentSize": f"{path.stat().st_size} B",
        "encodingFormat": kind,
        "sha256": digest,
    }


def _field(field: pyarrow.Field, table: str) -> dict[str, Any]:
    kind = "sc:Text"
    if pyarrow.types.is_integer(field.type):
        kind = "sc:Integer"
    elif pyarrow.types.is_floating(field.type):
        kind = "sc:Float"
    return {
        "@type": "cr:Field",
        "@id": f"patches/{field.name}",
        "name": field.name,
        "description": _MEANINGS[field.name],
        "dataType": kind,
        "source": {"fileObject": {"@id": table}, "extract": {"column": field.name}},
    }
