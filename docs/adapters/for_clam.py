"""CLAM: an exported folder as what `models.get_encoder` gives.

In CLAM's models/builder.py, at the top of `get_encoder`:

    if model_name.startswith("histo_simclr:"):
        from for_clam import get_encoder as ours
        return ours(model_name.removeprefix("histo_simclr:"))

then add "histo_simclr:/data/encoder" to the `choices` of `--model_name` in extract_features_fp.py.
CLAM's own transform and `--target_patch_size` are not used: the folder says how its input looks.
"""

from collections.abc import Callable

import torch
from folder_encoder import load


def get_encoder(folder: str) -> tuple[torch.nn.Module, Callable]:
    """(model, img_transforms): PIL image → (3, px, px); (N, 3, px, px) → (N, D)."""
    return load(folder)
