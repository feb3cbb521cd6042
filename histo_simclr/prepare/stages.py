"""What was seen: the mixes behind an encoder, a mix, or a record set, each as one *stage*.

A stage is plain JSON values, so that it is shown and written as it is: whose patches, how many,
under what terms, and where their names lie, if these are at hand.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from histo_simclr import records
from histo_simclr.errors import InputError
from histo_simclr.prepare import relatives, terms
from histo_simclr.prepare.registry import folded
from histo_simclr.prepare.registry_row import UNKNOWN
from histo_simclr.provenance import Provenance

UNSTATED = "NOASSERTION"  # SPDX: no licence was stated
STARTED = "the weights it started from"
# Of a cohort that does not say: files of strangers, and those of older versions.
_ABSENT = {"organ": "", "stain": "", "mpp": [], "slides": 0, "patients": 0}
_UNSTATED = {"license": "", "commercial_use": "unknown"}


def of_encoder(provenance: Provenance, mix: Path | None) -> list[dict[str, Any]]:
    """Its own mix first, then those of the weights it started from.

    Args:
      provenance: of a checkpoint or an export.
      mix: where one of these mixes lies; its own is also looked for where the run found it.

    Raises:
      InputError: `mix` is none of them.
    """
    lineage = provenance.lineage()
    digest = None if mix is None else _digest(mix)
    if mix is not None and digest not in [each.mix.get("digest") for each in lineage]:
        raise InputError(
            "is another mix than the encoder was trained on",
            where=f"--mix {mix}",
            way_out="give that one, or none: then cohorts are known, slides are not",
        )
    found = []
    for number, each in enumerate(lineage):
        whose = f" of {STARTED}" if number else ""
        if not each.mix:
            name = STARTED if number else "the encoder"
            found.append(_stage(name, None, None) | {"origin": each.origin})
        else:
            name = _named("the pretraining mix", each.mix.get("name", "")) + whose
            is_named = mix is not None and each.mix.get("digest") == digest
            place = mix / "index.parquet" if is_named else _configured(each)
            found.append(_of_mix(name, each.mix, place))
    return found


def of_mix(path: Path) -> dict[str, Any]:
    """Of a folder with mix.json."""
    info = records.read_json(path / "mix.json", "px", "size", "digest", "cohorts")
    return _of_mix(_named("the mix", info.get("name", "")), info, path / "index.parquet")


def of_record_set(path: Path) -> dict[str, Any]:
    """Of a record set's version folder; reads five columns of its manifest."""
    info = records.read_json(path / "record_set.json", "px", "cohort", "counts", "license")
    names = ["organ", "stain", "mpp", "slide", "patient"]
    columns = records.read_parquet(path / "manifest.parquet", names)
    unique = {name: sorted(set(np.unique(columns[name]).tolist()) - {""}) for name in names}
    row = {
        "rows": len(columns["mpp"]),
        "organ": ", ".join(unique["organ"]),
        "stain": ", ".join(unique["stain"]),
        "slides": len(unique["slide"]),
        "patients": len(unique["patient"]),
        "mpp": unique["mpp"],
        "license": info["license"],
        "commercial_use": info["commercial_use"],
    }
    stage = _stage(
        f"the record set {info['cohort']}",
        _cohorts({info["cohort"]: row}),
        path / "manifest.parquet",
    )
    kept = ("px", "counts", "version", "class_names", "mask_class_names", "citation", "url")
    return stage | {"size": row["rows"]} | {name: info[name] for name in kept if info.get(name)}


def relations(stages: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """What else may have been seen, as far as the registry knows.

    Returns:
      shares_pixels_with: cohort that is in no stage → cohorts of the stages that share its pixels.
      unregistered: cohorts of which no overlap is known.
      overlaps_unknown: cohorts that share pixels with others nobody listed.
    """
    known = relatives.known()
    names = [cohort["name"] for stage in stages for cohort in stage["cohorts"] or ()]
    own = {known.identity(name) for name in names}
    shared: dict[str, list[str]] = {}
    blind = []
    for name in dict.fromkeys(names):
        registered = known.cohorts.get(folded(name))
        for other in registered.overlaps if registered else ():
            if other == UNKNOWN:
                blind.append(name)
            elif known.identity(other) not in own:
                shared.setdefault(other, []).append(name)
    unregistered = relatives.unregistered(list(dict.fromkeys(names)), known)
    return {"shares_pixels_with": shared, "unregistered": unregistered, "overlaps_unknown": blind}


def terms_of(stages: Sequence[Mapping[str, Any]], what: str) -> dict[str, str]:
    """Commercial use of all that was seen, and why: the strictest terms hold.

    Args:
      stages: of one thing.
      what: how it is called in the sentence, e.g. "this encoder".
    """
    sets = [
        {"cohort": cohort["name"], **{key: cohort[key] for key in ("license", "commercial_use")}}
        for stage in stages
        for cohort in stage["cohorts"] or ()
    ]
    for stage in stages:
        if stage["cohorts"] is None:
            origin = stage["origin"]
            license = origin.get("license") or ""
            use = terms.settle({"license": license, "commercial_use": "unknown"}, None)
            name = origin.get("source") or origin.get("file") or stage["name"]
            sets.append({"cohort": f"weights {name}, whose patches are unknown", **use})
    return terms.roll_up(sets, what)


def licenses_of(stages: Sequence[Mapping[str, Any]]) -> list[str]:
    """Every licence that cohorts or weights behind a thing came with, once; "" of those without."""
    found = set()
    for stage in stages:
        if stage["cohorts"] is None:
            found.add(stage["origin"].get("license") or "")
        found |= {cohort["license"] for cohort in stage["cohorts"] or ()}
    return sorted("" if each == UNSTATED else each for each in found)


def _digest(mix: Path) -> str:
    if not (mix / "mix.json").is_file():
        raise InputError(
            "no mix in this folder", where=f"--mix {mix}", way_out="give the encoder's mix"
        )
    return records.read_json(mix / "mix.json", "digest")["digest"]


def _configured(provenance: Provenance) -> Path | None:
    """index.parquet of the mix where the run found it, if it still lies there."""
    configured = dict(provenance.config).get("data")
    folder = Path(configured["mix"]) if configured else None
    if folder is None or not (folder / "mix.json").is_file():
        return None
    is_same = _digest(folder) == provenance.mix.get("digest")
    return folder / "index.parquet" if is_same else None


def _of_mix(name: str, info: Mapping[str, Any], index: Path | None) -> dict[str, Any]:
    stage = _stage(name, _cohorts(info["cohorts"]), index)
    kept = ("size", "px", "draw", "seed", "digest", "statistics")
    recipe = (info.get("recipe") or {}).get("file")
    told = {key: info[key] for key in kept if key in info}
    return stage | told | ({"recipe": Path(recipe).name} if recipe else {})


def _named(what: str, name: str) -> str:
    return f"{what} {name!r}" if name else what


def _stage(name: str, cohorts: list[dict[str, Any]] | None, index: Path | None) -> dict[str, Any]:
    """index: where slides and patients stand by name; None: not at hand."""
    return {"name": name, "cohorts": cohorts, "index": index and str(index)}


def _cohorts(rows: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Where a cohort and the registry differ in their terms, the stricter hold."""
    known = relatives.known().cohorts
    return [
        {
            "name": name,
            "patches": row.get("rows", 0),
            **{key: row.get(key, absent) for key, absent in _ABSENT.items()},
            **terms.settle(_UNSTATED | row, known.get(folded(name))),
        }
        for name, row in rows.items()
    ]
