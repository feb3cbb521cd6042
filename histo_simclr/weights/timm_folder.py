"""An encoder as a folder that timm, transformers and the Hugging Face Hub know.

`config.json` and `model.safetensors` are what they read, README.md is the model card, and by the
patches of the fingerprint anybody can check what was loaded. timm refuses keys of `pretrained_cfg`
that it does not know, so ours stand beside it.
"""

import functools
from pathlib import Path
from typing import Any

from histo_simclr import fingerprint, workdir
from histo_simclr.model.resnet import ResNet
from histo_simclr.provenance import Provenance
from histo_simclr.weights import card_text, flat_files, model_card
from histo_simclr.weights.card_results import Result
from histo_simclr.weights.label import KEY

CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"
PATCHES = "fingerprint_patches.png"  # by which others check what they have loaded
_STRIDE = 32  # of a ResNet from its input to the map that is averaged


def write(
    encoder: ResNet,
    provenance: Provenance,
    label: dict[str, Any],
    out: Path,
    *,
    results: tuple[Result, ...] | None = None,
) -> None:
    """Writes the folder.

    Args:
      encoder, provenance: what is written.
      label: `label.label` of them.
      out: folder to make.
      results: of its evaluation, for the card; None: a short card, of how to use it and its terms.

    Raises:
      OSError: it cannot be written.
    """
    out.mkdir()
    flat_files.write_safetensors(encoder, provenance, label, out / WEIGHTS)
    (out / PATCHES).write_bytes(fingerprint.patches_file())
    workdir.write_json(out / CONFIG, config(encoder, provenance, label))
    card = (
        functools.partial(model_card.full, results=results)
        if results is not None
        else (model_card.short)
    )
    workdir.write_text(out / CARD, card(provenance, label))


def config(encoder: ResNet, provenance: Provenance, label: dict[str, Any]) -> dict[str, Any]:
    """Content of config.json.

    `interpolation` is bilinear, with antialiasing, as patches are resized here; `crop_pct` 1 says
    that nothing is cut off: timm's own 0.875 would change the µm/px by 14 %.
    """
    side = provenance.px
    mix, mpp = provenance.mix, [value for value in provenance.mpp if value > 0]
    return {
        "architecture": provenance.arch,
        "num_classes": 0,
        "num_features": encoder.num_features,
        "global_pool": "avg",
        "pretrained_cfg": {
            "input_size": [3, side, side],
            "fixed_input_size": False,
            "interpolation": "bilinear",
            "crop_pct": 1.0,
            "crop_mode": "center",
            "mean": list(provenance.mean),
            "std": list(provenance.std),
            "num_classes": 0,
            "pool_size": [-(-side // _STRIDE)] * 2,
            "first_conv": "conv1",
            "classifier": "fc",
            "custom_load": False,
            "license": model_card.license_of(provenance),
            "paper_ids": "arXiv:2011.13971",
        },
        KEY: label
        | {
            "mpp": mpp,
            "patch_size_um": [round(side * value, 4) for value in mpp],
            "stains": sorted({each["stain"] for each in mix.get("cohorts", {}).values()} - {""}),
            "datasets_sha256": mix.get("digest", ""),
            "seed": card_text.setting(provenance, "seed"),
            "code_version": provenance.revision,
        },
    }
