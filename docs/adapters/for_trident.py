"""TRIDENT: an exported folder as a custom patch encoder.

    from for_trident import encoder
    from trident import OpenSlideWSI
    slide.extract_patch_features(encoder("/data/encoder"), coords_path, save_features)

TRIDENT hands patches over as PIL images of the size that they were cut with, the transform resizes
them: cut them so that they cover what the encoder was trained on (`patch_size_um` in config.json).
"""

import torch
from folder_encoder import load
from trident.patch_encoder_models.load import CustomInferenceEncoder


def encoder(folder: str) -> CustomInferenceEncoder:
    """For `extract_patch_features(patch_encoder=…)`; float32, so TRIDENT uses no autocast."""
    model, transform = load(folder)
    return CustomInferenceEncoder(
        enc_name="histo_simclr", model=model, transforms=transform, precision=torch.float32
    )
