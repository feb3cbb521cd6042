"""How an encoder is fine-tuned on a labelled set: every key once; part of a suite's configuration.

Sources: SimCLR = arXiv 2002.05709, appendix B.8; BEiT = arXiv 2106.08254; Inception = arXiv
1512.00567; ours = chosen here. What the encoder expects (px, mean, std) comes from its checkpoint.
"""

import ml_collections


def finetune_defaults() -> ml_collections.ConfigDict:
    """Arguments of `evaluate.finetune.finetune` beside encoder, data, device and seed."""
    config = ml_collections.ConfigDict()
    config.batch_size = 64  # patches in the global batch; divisible by the devices: ours
    # At most; ours. An epoch is as many patches as the training part has, at least one batch.
    config.epochs = 30
    config.warmup_epochs = 1.0  # of a linear warm-up; then cosine to 0: ours
    config.patience = 8  # epochs without a better validation score, after which it stops: ours
    # What validation chooses the epoch by: "loss" (cross-entropy, squared error; no ties), or
    # "macro_f1". The best epoch's parameters are what is tested.
    config.stop_on = "loss"  # ours
    config.balanced = True  # classes equally often, whatever their share of the patches: ours
    config.label_smoothing = 0.0  # share of a label given to all classes; ours (Inception: 0.1)
    # False: statistics of the batch, as in pretraining; ours. True: the encoder's own, for batches
    # too small to have any.
    config.freeze_statistics = False

    config.optimizer = ml_collections.ConfigDict()
    config.optimizer.name = "adamw"  # or sgd, lars: ours
    config.optimizer.rate = 3e-4  # peak, of the linear layer; for this batch, not scaled: ours
    config.optimizer.momentum = 0.9  # beta 1 of adamw: arXiv 1412.6980
    config.optimizer.weight_decay = 0.01  # kernels only; torch's default
    # Rate of each stage relative to the one above it; the stem's is its 5th power. 1: the same
    # everywhere, 0: the linear layer alone learns. BEiT: 0.65 to 0.75, for many more layers.
    config.optimizer.layer_decay = 0.75  # ours

    # As the views of pretraining (configs/simclr.py), but light: the label must survive them.
    config.views = ml_collections.ConfigDict()
    config.views.crop_scale = (0.5, 1.0)  # share of the area: ours (SimCLR: 0.08 to 1)
    config.views.crop_ratio = (3 / 4, 4 / 3)  # width / height: SimCLR
    config.views.horizontal_flip = 0.5  # probability: SimCLR
    config.views.vertical_flip = 0.5  # probability: ours, tissue has no upside
    config.views.quarter_turn = 1.0  # probability of 0 to 3 quarter turns: ours, as above
    config.views.jitter_probability = 0.8  # ours (SimCLR fine-tunes without color changes)
    config.views.jitter_strength = 1.0  # multiplies the four below, which are whole: ours
    config.views.brightness = 0.1  # factor from 1 ± 0.1: ours, of scanners and stains
    config.views.contrast = 0.1  # as above
    config.views.saturation = 0.1  # as above
    config.views.hue = 0.02  # turns, shift from ± 0.02: ours, as above
    config.views.gray_probability = 0.0  # SimCLR's fine-tuning
    config.views.blur_probability = 0.0  # SimCLR's fine-tuning
    config.views.blur_sigma = (0.1, 2.0)  # px of a 224 px view: SimCLR; unused at probability 0
    return config
