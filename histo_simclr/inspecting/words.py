"""What `report.inspect` found, as text for the terminal."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from histo_simclr import tables
from histo_simclr.errors import printable
from histo_simclr.inspecting.was_seen import Answer

WIDTH = 14  # of the names at the left
SHORT = 16  # characters of a digest that are shown


def text(found: Mapping[str, Any]) -> str:
    """All of it, most telling first."""
    head = f"{found['path']}: {_kind(found)}"
    blocks = [[head, *_lines(_about(found))]]
    blocks += [_stage(each) for each in found["stages"]]
    blocks += [_lines(_warnings(found)), _results(found.get("results", ()))]
    blocks += [[f"note: {each}" for each in found.get("notes", ())]]
    return "\n\n".join("\n".join(map(printable, lines)) for lines in blocks if lines)


def answered(name: str, answer: Answer) -> str:
    """`seen: yes`, and why, a line each."""
    lines = [f"{name} seen: {answer.seen}", *(f"  {each}" for each in answer.because)]
    return "\n".join(map(printable, lines))


def _kind(found: Mapping[str, Any]) -> str:
    kind = found["kind"]
    if kind == "checkpoint":
        if "step" not in found:
            return "an imported folder, a checkpoint for every command"
        state = "of a finished run" if found["finished"] else "of a run that has not ended"
        kept = ", ".join(f"{each:,}" for each in found["steps"])
        return f"checkpoint {state}, step {found['step']:,} (kept: {kept})"
    if kind == "export":
        return f"{found['format']}, written by {found['exported_by']}"
    if kind == "foreign weights":
        return f"weights of another project ({found['format']}, {found['tensors']} tensors)"
    if kind == "features of slides":
        return f"features of {found['patches']:,} patches of {len(found['slides']):,} slide(s)"
    return kind


def _about(found: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    encoder = found.get("encoder")
    if encoder:
        head = "-".join(map(str, encoder["head"]))
        head = f", projection head {head}" if head else ""
        yield "encoder", f"{encoder['arch']}, features of {encoder['num_features']}{head}"
        looks = (", ".join(f"{x:g}" for x in encoder[name]) for name in ("mean", "std"))
        yield "input", "RGB in [0, 1], mean ({}), std ({}), {} px".format(*looks, encoder["px"])
        yield "µm/px", _mpp(encoder["mpp"])
        yield "origin", _origin(found["origin"])
    for name, value in found.get("weights", {}).items():
        is_digest = name in ("model_sha256", "digest")
        yield name.replace("model_", ""), value[:SHORT] if is_digest else value
    if encoder:
        versions = ", ".join(f"{name} {each}" for name, each in found["versions"].items())
        yield "made with", versions or "unknown"
        yield "revision", found["revision"] or "unknown"
    for name, value in found.get("made", {}).items():
        yield name, ", ".join(value)
    for name, value in found.get("encoders", {}).items():
        yield "encoder", f"{name}: {value['description']}"
    if judged := found.get("checkpoint"):
        yield (
            "encoder",
            f"{judged.get('name', '')}, {judged.get('arch')}, step {judged.get('step')}",
        )


def _origin(origin: Mapping[str, Any]) -> str:
    if origin.get("kind") == "imported":
        kept = ("file", "source", "layout", "license", "sha256")
        told = {name: str(origin[name]) for name in kept if origin.get(name)}
        if "sha256" in told:
            told["sha256"] = told["sha256"][:SHORT]
        return "imported: " + ", ".join(f"{name} {value}" for name, value in told.items())
    if start := origin.get("init_from"):
        step = "" if start["step"] is None else f", step {start['step']:,}"
        taken = " and ".join(start["taken"])
        return f"pretrained from {start['name']}{step} ({start['digest'][:SHORT]}): {taken} taken"
    return "pretrained from scratch"  # those that do not say: nothing else could be done then


def _stage(stage: Mapping[str, Any]) -> list[str]:
    if stage["cohorts"] is None:
        return [f"{stage['name']}: what it was trained on is unknown"]
    drawn = f", drawn {stage['draw']}" if "draw" in stage else ""
    digest = f"; digest {stage['digest'][:SHORT]}" if "digest" in stage else ""
    splits = "; ".join(f"{name} {count:,}" for name, count in stage.get("counts", {}).items())
    size = f"{stage['size']:,} patches of {stage['px']} px"
    head = f"{stage['name']}: {size}{f' ({splits})' if splits else ''}{drawn}{digest}"
    rows = [["cohort", "patches", "organ", "stain", "µm/px", "slides", "patients", "licence"]]
    rows[0].append("commercial use")
    for each in stage["cohorts"]:
        row = [each["name"], f"{each['patches']:,}", each["organ"] or "-", each["stain"] or "-"]
        row += [_mpp(each["mpp"]), *(f"{each[name] or '-'}" for name in ("slides", "patients"))]
        rows.append([*row, each["license"] or "not stated", each["commercial_use"]])
    classes = stage.get("class_names") or ()
    below = [f"  classes: {', '.join(classes)}"] if classes else []
    return [head, *(f"  {line}" for line in tables.aligned(rows, right={1, 5, 6})), *below]


def _warnings(found: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    related = found.get("related")
    if related:
        for other, own in related["shares_pixels_with"].items():
            yield "overlaps", f"{other} shares pixels with {', '.join(own)}: some may be here"
        for key, words in (
            ("unregistered", "not in the registry, so their overlaps are unknown"),
            ("overlaps_unknown", "the registry says that overlaps are unknown"),
        ):
            if related[key]:
                yield "overlaps", f"{', '.join(related[key])}: {words}"
    if terms := found.get("terms"):
        yield "commercial", f"{terms['commercial_use']}: {terms['commercial_use_because']}"


def _results(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    if not rows:
        return []
    shown = [["results", "", "", "metric", "value", "95 % interval"]]
    for row in rows:
        low, high = (_number(row[name]) for name in ("low", "high"))
        cells = [row["set"], row["what"], row["protocol"], row["metric"].replace("_", " ")]
        shown.append([*cells, _number(row["value"]), f"[{low}, {high}]"])
    return tables.aligned(shown, right={4})


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _mpp(values: Sequence[float]) -> str:
    known = [f"{each:g}" for each in sorted({round(each, 3) for each in values if each})]
    shown = f"{known[0]} to {known[-1]}" if len(known) > 4 else ", ".join(known)
    if known and all(values):
        return shown
    return f"{shown}; unknown of some" if known else "unknown"


def _lines(pairs: Iterable[tuple[str, str]]) -> list[str]:
    return [f"  {name:<{WIDTH}} {value}" for name, value in pairs]
