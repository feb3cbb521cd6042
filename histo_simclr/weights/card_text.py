"""Sections of a model card: provenance, label, results → Markdown.

Names of cohorts, organs and files are the user's own and are escaped.
"""

from collections.abc import Sequence
from typing import Any

from histo_simclr.provenance import Provenance
from histo_simclr.weights.card_results import METRICS, Result

_PAPER = """@article{ciga2022self,
  title = {Self supervised contrastive learning for digital histopathology},
  author = {Ciga, Ozan and Xu, Tony and Martel, Anne L.},
  journal = {Machine Learning with Applications},
  volume = {7}, pages = {100198}, year = {2022}, doi = {10.1016/j.mlwa.2021.100198}
}"""
_USE = """```python
import timm
encoder = timm.create_model("local-dir:FOLDER", pretrained=True).eval()  # hf-hub:OWNER/NAME
transform = timm.data.create_transform(**timm.data.resolve_data_config({}, model=encoder))
features = encoder(transform(patch).unsqueeze(0))  # patch: PIL image, RGB
```"""
# key of the configuration → what the card calls it
_SETTINGS = {
    ("objective", "name"): "objective",
    ("objective", "temperature"): "temperature",
    ("optimizer", "name"): "optimizer",
    ("optimizer", "base_rate"): "base learning rate",
    ("optimizer", "weight_decay"): "weight decay",
    ("batch_size",): "batch",
    ("epochs",): "epochs",
    ("warmup_epochs",): "warm-up epochs",
    ("precision",): "precision",
    ("seed",): "seed",
}


def name(provenance: Provenance) -> str:
    """A short name, for tables of results."""
    return f"{provenance.arch} SimCLR histopathology"


def title(provenance: Provenance) -> str:
    """The card's heading."""
    if provenance.origin.get("kind") == "imported":
        return f"{provenance.arch}, imported from {_cell(_source(provenance))}"
    return f"{provenance.arch}, pretrained by SimCLR on histopathology patches"


def use() -> str:
    """How timm loads the folder; it says how the input is made."""
    return f"## Use\n\nIn timm, without any code of ours:\n\n{_USE}"


def input(provenance: Provenance) -> str:
    """What the encoder expects and gives: the question asked most of published weights."""
    side = provenance.px
    mpp = [value for value in provenance.mpp if value > 0]
    unsaid = "; some patches did not say" if 0 in provenance.mpp and mpp else ""
    edges = ", ".join(f"{side * value:.4g}" for value in mpp)
    facts = {
        "patch": f"{side} × {side} px, RGB; others are resized (bilinear, antialiased), not cut",
        "µm/px": (", ".join(f"{value:g}" for value in mpp) or "unknown") + unsaid,
        "side of a patch": f"{edges} µm" if mpp else "unknown",
        "normalization": f"pixels in [0, 1], minus mean {_triple(provenance.mean)}, divided by "
        f"std {_triple(provenance.std)}; no stain normalization",
        "output": "features after global average pooling, before any head; no classifier",
    }
    return "## Input\n\n" + _table(("", ""), list(facts.items()))


def data(provenance: Provenance) -> str:
    """What it saw: the mix, its cohorts and their terms."""
    mix, heading = provenance.mix, "## Training data\n\n"
    started = provenance.origin.get("init_from")
    after = f"\n\n{_started(started)}" if started else ""
    if not mix.get("cohorts"):
        return f"{heading}Unknown here: the weights were imported ({_imported(provenance)}).{after}"
    head = ("cohort", "patches", "slides", "organ", "stain", "µm/px", "licence", "commercial use")
    rows = [
        (
            cohort,
            f"{each.get('rows', 0):,}",
            f"{each.get('slides', 0):,}" if each.get("slides") else "not stated",
            each.get("organ") or "not stated",
            each.get("stain") or "not stated",
            ", ".join(f"{value:g}" for value in each.get("mpp", ()) if value) or "not stated",
            each.get("license") or "not stated",
            each.get("commercial_use", "unknown"),
        )
        for cohort, each in mix["cohorts"].items()
    ]
    drawn = mix.get("draw", "unknown")
    says = f"{_patches(provenance):,} unlabelled patches of {len(rows)} cohorts, draw {drawn}"
    digest = f"; digest of the mix `{mix['digest']}`" if mix.get("digest") else ""
    warned = (
        "\n\nDo not judge the encoder on patients or slides of these cohorts without saying so."
    )
    return f"{heading}{says}{digest}.\n\n{_table(head, rows)}{warned}{after}"


def _started(start: dict[str, Any]) -> str:
    before = Provenance.from_json(start["provenance"], where="init_from")
    step = f", step {start['step']:,}" if start.get("step") is not None else ""
    saw = ", ".join(map(_inline, before.mix.get("cohorts", {})))
    seen = f"which had seen {saw}" if saw else "and nobody here knows what these had seen"
    source = before.origin.get("source") or start["name"]
    return (
        f"It started from other weights: {_inline(source)}{step} (`{start['digest'][:16]}`), "
        f"{seen}; {' and '.join(start['taken'])} taken. The terms below are those of both."
    )


def conditions(licenses: Sequence[str], roll_up: dict[str, str], notes: Sequence[str]) -> str:
    """The licences, and whether commercial use is allowed by all of them.

    Args:
      licenses: of all that the encoder saw or started from; "" stands for none stated.
      roll_up: `terms.roll_up`'s.
      notes: on weights that others made.
    """
    named = [_inline(each) or "none stated" for each in licenses] or ["none stated"]
    stated = (
        f"Licence: {named[0]}."
        if len(named) == 1
        else f"No single licence covers it: weights inherit the terms of each ({'; '.join(named)})."
    )
    said = "".join(f"\n\n{_inline(each)}." for each in notes)
    return (
        f"## Terms\n\n{stated}\n\nCommercial use: **{roll_up['commercial_use']}** "
        f"({_inline(roll_up['commercial_use_because'])}). As stated by those who gave the data; "
        f"check at the source before you rely on it.{said}"
    )


def results(found: Sequence[Result]) -> str:
    """Results with 95 % intervals, floors beside them."""
    if not found:
        return "## Results\n\nNone are attached: nothing is claimed of how good the features are."
    shown = [name for name in METRICS if any(name in each.metrics for each in found)]
    head = ("test set", "protocol", "encoder", *(METRICS[name][0] for name in shown), "measured on")
    rows = [
        (
            each.task,
            each.protocol,
            f"**{each.encoder}**" if each.is_this else each.encoder,
            *(_interval(each.metrics.get(name)) for name in shown),
            each.test,
        )
        for each in found
    ]
    return (
        "## Results\n\nOn test splits, with 95 % intervals. A number means little without its "
        "floors, random weights and a histogram of colors; where these were measured, they stand "
        f"beside it.\n\n{_table(head, rows)}{_notes(found)}"
    )


def _notes(found: Sequence[Result]) -> str:
    said: dict[str, list[str]] = {}
    for each in found:
        for note in each.notes:
            said.setdefault(note, []).append(each.task)
    lines = [
        f"- {', '.join(dict.fromkeys(tasks))}: {_inline(note)}" for note, tasks in said.items()
    ]
    return "\n\n" + "\n".join(lines) if lines else ""


def intended(provenance: Provenance) -> str:
    """What it is for and what it is not."""
    stains = sorted(
        {each.get("stain") or "" for each in provenance.mix.get("cohorts", {}).values()}
    )
    seen = ", ".join(filter(None, stains)) or "stains that are not known here"
    return (
        "## Intended use and limits\n\n"
        "For research: features of histopathology patches, for probes, retrieval, clustering and "
        "slide-level models.\n\n"
        "- **Not a medical device; not for diagnosis** or any decision about a patient.\n"
        f"- Trained on {_inline(seen)}; other stains, scanners, species and µm/px are untested.\n"
        "- Features also tell sites, scanners and stains apart; a model on top may use that in "
        "place of tissue. Test on sites that it was not fitted on.\n"
        "- Patches at another µm/px or with other pixel statistics load without an error and give "
        "worse features."
    )


def training(provenance: Provenance, label: dict[str, Any]) -> str:
    """The settings that decide the result; empty where none are known."""
    found = {called: setting(provenance, *path) for path, called in _SETTINGS.items()}
    rows = [
        (called, f"{value:g}" if isinstance(value, float) else str(value))
        for called, value in found.items()
        if value is not None
    ]
    if not rows:
        return ""
    if (batch := setting(provenance, "batch_size")) and (step := label.get("step")):
        rows.append(("patches seen", f"{step * batch:,}, counting each pass"))
    head = f"{provenance.hidden}–{provenance.out}"
    rows.append(("projection head", f"{head}, not part of this encoder"))
    return (
        "## Training\n\nSimCLR (two views of each patch, NT-Xent over the global batch).\n\n"
        + _table(("", ""), rows)
    )


def citation(provenance: Provenance) -> str:
    """The method's paper, and the source of imported weights."""
    own = provenance.origin.get("citation")
    also = f"The weights: {_inline(own)}\n\n" if own else ""
    return f"## Citation\n\n{also}The method:\n\n```bibtex\n{_PAPER}\n```"


def identity(provenance: Provenance, label: dict[str, Any]) -> str:
    """By what to recognize these weights, and what made the file."""
    facts = {
        "weights (SHA-256)": f"`{label['model_sha256']}`",
        "fingerprint": "features of 8 embedded patches, in the metadata of model.safetensors; "
        "`histo-simclr` computes them again when it loads the folder",
        "exported by": label["exported_by"],
        "code": provenance.revision or "unknown",
        "versions": ", ".join(f"{name} {value}" for name, value in provenance.versions.items()),
    }
    shown = [(key, value) for key, value in facts.items() if value]
    return "## Identity\n\n" + _table(("", ""), shown)


def setting(provenance: Provenance, *keys: str) -> Any:
    """A value of the run's configuration; None where it is not stated, as of imported weights."""
    value: Any = provenance.config
    for key in keys:
        if not isinstance(value, dict) or key not in value:
            return None
        value = value[key]
    return value


def _patches(provenance: Provenance) -> int:
    return sum(each.get("rows", 0) for each in provenance.mix.get("cohorts", {}).values())


def _source(provenance: Provenance) -> str:
    return provenance.origin.get("source") or provenance.origin.get("file") or "another file"


def _imported(provenance: Provenance) -> str:
    origin = provenance.origin
    said = [
        f"{key} {origin[key]}" for key in ("source", "file", "sha256", "url") if origin.get(key)
    ]
    return _inline(", ".join(said) or "nothing more is known")


def _triple(values: Sequence[float]) -> str:
    return f"({', '.join(f'{value:.6g}' for value in values)})"


def _interval(metric: tuple[float, float | None, float | None] | None) -> str:
    if metric is None:
        return ""
    value, low, high = metric
    return f"{value:.3f}" if low is None or high is None else f"{value:.3f} [{low:.3f}, {high:.3f}]"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


def _cell(text: str) -> str:
    return _inline(text).replace("|", "\\|")


def _inline(value: Any) -> str:
    """One line, without HTML."""
    text = value if isinstance(value, str) else ", ".join(f"{k} {v}" for k, v in value.items())
    return " ".join(text.split()).replace("<", "&lt;")
