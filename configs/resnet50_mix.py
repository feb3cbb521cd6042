"""ResNet-50 on a mix: resnet18_mix.py with another architecture; :tenpercent unless named."""

import ml_collections

from configs import resnet18_mix


def get_config(preset: str = "tenpercent") -> ml_collections.ConfigDict:
    """The recipe at the scale of `preset`."""
    config = resnet18_mix.get_config(preset)
    config.model.arch = "resnet50"
    return config
