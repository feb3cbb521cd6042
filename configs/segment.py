"""How an encoder is judged by segmentation: a U-Net decoder on its stages.

A part of evaluations, not a program of its own.
"""

import ml_collections


def defaults() -> ml_collections.ConfigDict:
    """Values of `evaluate.segment`; where no source is named they are ours."""
    config = ml_collections.ConfigDict()
    config.tile = 256  # side in pixels of what is learned from and predicted at once
    config.overlap = 0.5  # of tiles in prediction: nnU-Net (arXiv 1904.08128)
    config.batch_size = 16  # tiles over all devices
    # Channels of the decoder, deepest first: the default of segmentation_models_pytorch's Unet.
    config.widths = (256, 128, 64, 32, 16)
    config.steps = 2000
    config.warmup_fraction = 0.05  # of the steps, from rate 0; then a cosine to 0
    config.rate = 1e-3  # of AdamW for the decoder: optax's and torch's default
    config.weight_decay = 1e-4  # decoupled, kernels only: optax's default
    # Share of `rate` that the encoder learns at; 0: it is frozen, its BatchNorm too.
    config.encoder_rate = 0.0
    config.seed = 0
    return config
