"""ResNet-18 that is there already, adapted to slides of your own: docs/adapt.md.

  python main.py --config=configs/resnet18_adapt.py --config.init_from=ENCODER --config.data.mix=MIX
  python main.py --config=configs/resnet18_adapt.py:sample     after the main command: it runs

Another architecture: --config.model.arch=resnet50, as that of the weights.

The method is that of configs/simclr.py. What is shorter and slower here is for weights that are
good already: they need few steps, and large ones may lose more than own slides can teach.
All values ours.
"""

import ml_collections

from configs import resnet18_mix, simclr
from histo_simclr.errors import InputError


def get_config(preset: str = "slides") -> ml_collections.ConfigDict:
    """The recipe for an encoder that is adapted, at the scale of `preset`."""
    presets = {"slides": slides, "sample": sample}
    if preset not in presets:
        raise InputError(
            f"no preset {preset!r}", where="--config", way_out=f"choose one of {', '.join(presets)}"
        )
    config = simclr.get_config()
    # A fifth of the rate that learns from scratch.
    config.optimizer.base_rate = simclr.get_config().optimizer.base_rate / 5
    presets[preset](config)
    return config.lock()


def slides(config: ml_collections.ConfigDict) -> None:
    """200 slides of 1,000 patches at 224 px: 4,000,000 patch passes, a hundredth of the paper's."""
    config.init_from = "data/encoder"  # written by `histo-simclr import`, or a workdir
    config.batch_size = 256
    config.epochs = 20.0
    config.warmup_epochs = 1.0
    config.online.every = 400
    config.run.checkpoint_every = 800
    # All stay: which of them to keep is chosen afterwards.
    config.run.keep_every = 800


def sample(config: ml_collections.ConfigDict) -> None:
    """What the main command learned, over the embedded mix once more: it shows that it runs."""
    resnet18_mix.embedded(config)
    config.init_from = "runs/resnet18_mix"
    config.note = "A demonstration: so few steps adapt nothing. docs/adapt.md has the real command."
    config.online.patches = 500
    config.online.mix_patches = 300
    config.online.every = 25
    config.epochs = 1.0
    config.warmup_epochs = 0.1
    config.run.log_every = 5
    config.run.checkpoint_every = 25
