"""What a person and a machine need to know of a record set or a mix: README.md, croissant.json.

Made from the files in the folder alone, so that it cannot say anything else than they do. Names
no folder of this machine. counts.png is drawn where there is something to compare.
"""

import collections
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet

from histo_simclr import pictures, records
from histo_simclr.prepare import candidates, croissant, wording
from histo_simclr.prepare.tally import Counts, Pixels

_ONLY_IMAGES = "Slide and patient names are those of the source; nothing else of a person is here."
_LIMITS = (
    "For research; not for diagnosis. Patches without a slide or patient name may come from one "
    "and the same."
)


def of_record_set(folder: Path, made_by: str) -> None:
    """Writes the datasheet of a record set that is complete otherwise.

    Args:
      folder: holds manifest.parquet, record_set.json, rejected.csv and the shards.
      made_by: the command.
    """
    info = records.read_json(folder / "record_set.json")
    counts = Counts(("split", "organ", "stain", "mpp"))
    pixels, classes = Pixels(), collections.Counter()
    manifest = folder / "manifest.parquet"
    columns = ["key", "pixels_sha256", "split", "organ", "stain", "mpp", "label", "slide"]
    columns += ["patient", *records.MOMENT_FIELDS]
    with candidates.open_manifest(manifest) as file:
        schema = file.schema_arrow
        for table in candidates.groups(file, columns, manifest):
            counts.add(table)
            pixels.add(table)
            grouped = table.group_by(["split", "label"]).aggregate([([], "count_all")])
            for row in grouped.to_pylist():
                classes[row["split"], row["label"]] += row["count_all"]
    values, named = counts.by_value(), counts.named()
    panels = {f"class, {split}": _of_split(classes, split) for split in values["split"]}
    panels |= {"organ": values["organ"], "stain": values["stain"], "µm/px": _stated(values["mpp"])}
    has_picture = _draw(folder, panels)
    facts = {
        "cohort": info["cohort"],
        "patches": f"{wording.counted(info['counts'])}, {info['px']} px",
        "classes": ", ".join(info["class_names"] or []),
        "organ": wording.counted(values["organ"]),
        "stain": wording.counted(values["stain"]),
        "µm/px": wording.counted(values["mpp"]),
        "slides, patients named": f"{named['slides']:,}, {named['patients']:,}",
        "mean, std of R G B": wording.statistics(pixels.statistics()),
        "licence": wording.terms(info),
        "source": info["url"],
        "cite": info["citation"],
        "digest": f"`{pixels.digest()}`",
    }
    if "mask_class_names" in info:
        facts["classes of masks"] = ", ".join(info["mask_class_names"])
    if records.TARGET_FIELD in info:
        facts["targets"] = "from {low:g} to {high:g}".format(**info[records.TARGET_FIELD])
    title = f"{info['cohort']}: {sum(info['counts'].values()):,} patches of {info['px']} px"
    parts = [wording.table(facts), _picture(has_picture)]
    if info["class_names"]:
        lines = {
            f"{split}, {name}": f"{count:,}" for (split, name), count in sorted(classes.items())
        }
        parts.append("## Classes\n\n" + wording.table(lines))
    parts.append(wording.rejected(folder / "rejected.csv"))
    _write_readme(folder, title, parts, made_by)
    _write_croissant(
        folder,
        "manifest.parquet",
        schema,
        {
            "name": info["name"],
            "description": f"{title}. Digest {pixels.digest()}. Made by: {made_by}",
            "license": info["license"] or "NOASSERTION",
            "url": info["url"],
            "version": info["version"],
            "citeAs": info["citation"],
        },
        wording.collection([info]),
        f"organ: {facts['organ']}; stain: {facts['stain']}",
    )


def of_mix(folder: Path, made_by: str) -> None:
    """Writes the datasheet of a mix that is complete otherwise.

    Args:
      folder: holds index.parquet and mix.json.
      made_by: the command.
    """
    info = records.read_json(folder / "mix.json")
    schema = pyarrow.parquet.read_schema(folder / "index.parquet")
    sets = info["record_sets"]
    sums = {name: _sum(each[name] for each in sets) for name in ("organ", "stain", "mpp")}
    rows = {name: each["rows"] for name, each in info["cohorts"].items()}
    panels = {
        "cohort": rows,
        "organ": sums["organ"],
        "stain": sums["stain"],
        "µm/px": _stated(sums["mpp"]),
    }
    has_picture = _draw(folder, panels)
    facts = {
        "patches": f"{info['size']:,} of {info['px']} px, from {len(rows)} cohorts",
        "draw": wording.drawn(info),
        "seed": str(info["seed"]),
        "organ": wording.counted(sums["organ"]),
        "stain": wording.counted(sums["stain"]),
        "µm/px": wording.counted(sums["mpp"]),
        "mean, std of R G B": wording.statistics(info["statistics"]),
        "commercial use": f"**{info['commercial_use']}**: {info['commercial_use_because']}",
        "digest": f"`{info['digest']}`",
    }
    if recipe := info["recipe"]:
        facts["recipe"] = f"{recipe['file']}, SHA-256 `{recipe['sha256']}`"
    missing = (info["choice"] or {}).get("missing")
    lacks = f" Without {', '.join(missing)}, which were not at hand." if missing else ""
    title = f"{info['name']}: {info['size']:,} patches of {info['px']} px"
    parts = [
        wording.table(facts),
        _picture(has_picture),
        wording.cohorts(info),
        wording.exclusions(info),
    ]
    citations = dict.fromkeys(each["citation"] for each in sets if each["citation"])
    if citations:
        parts.append("## Cite\n\n" + "\n".join(f"- {each}" for each in citations))
    _write_readme(folder, title, parts, made_by)
    licenses = dict.fromkeys(each["license"] or "NOASSERTION" for each in sets)
    _write_croissant(
        folder,
        "index.parquet",
        schema,
        {
            "name": info["name"],
            "description": f"{title}: an index into record sets, without pixels.{lacks} "
            f"Digest {info['digest']}. Made by: {made_by}",
            "license": "; ".join(licenses),
            "version": "1.0.0",
            "citeAs": "; ".join(citations),
        },
        wording.collection(sets),
        f"cohort: {wording.counted(rows)}; organ: {facts['organ']}; stain: {facts['stain']}",
    )


def _stated(mpp: Mapping[str, int]) -> dict[str, int]:
    """Rows by µm/px, rounded for a picture; "" where nobody said."""
    pairs = ((f"{float(value):.4g}" if float(value) else "", mpp[value]) for value in mpp)
    return _sum({name: count} for name, count in pairs)


def _of_split(classes: Mapping[tuple[str, str | None], int], split: str) -> dict[str, int]:
    return {
        name: count for (each, name), count in sorted(classes.items()) if each == split and name
    }


def _sum(parts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: collections.Counter[str] = collections.Counter()
    for part in parts:
        total.update(part)
    return dict(sorted(total.items()))


def _draw(folder: Path, panels: Mapping[str, Mapping[str, int]]) -> bool:
    """Draws counts.png of the panels with more than one bar; whether there were any."""
    drawn = {title: values for title, values in panels.items() if len(values) > 1}
    if drawn:
        pictures.counts(drawn, folder / "counts.png")
    return bool(drawn)


def _picture(is_there: bool) -> str:
    return "![patches by value](counts.png)" if is_there else ""


def _write_readme(folder: Path, title: str, parts: list[str], made_by: str) -> None:
    made = f"## How it was made\n\n```\n{made_by}\n```"
    text = "\n\n".join([f"# {title}", *(part for part in parts if part), made, _LIMITS])
    (folder / "README.md").write_text(text + "\n", encoding="utf-8")


def _write_croissant(
    folder: Path, table: str, schema: Any, facts: dict[str, str], collection: str, biases: str
) -> None:
    listed = (".parquet", ".json", ".csv")
    names = {each.name for each in folder.iterdir()} - {"croissant.json"}
    files = sorted(each for each in names if each.endswith(listed) or ".tfrecord" in each)
    rai = {
        "dataCollection": collection,
        "dataBiases": biases,
        "dataLimitations": _LIMITS,
        "personalSensitiveInformation": _ONLY_IMAGES,
    }
    content = croissant.document(folder, files, table, schema, facts, rai)
    # For machines: what a person wants to know stands in README.md.
    text = json.dumps(content, separators=(",", ":"), ensure_ascii=False)
    (folder / "croissant.json").write_text(text + "\n", encoding="utf-8")
