"""ResNet-18 on a mix: the embedded sample, or the paper's scale.

  python main.py --config=configs/resnet18_mix.py               8 minutes on 2 cores: it runs
  python main.py --config=configs/resnet18_mix.py:overnight     an hour on 2 cores: the curves
  python main.py --config=configs/resnet18_mix.py:tenpercent    400,000 patches, as the paper's
  python main.py --config=configs/resnet18_mix.py:full          all 4,000,000

The mixes of the last two: data/mixes/tenpercent.yaml and paper57.yaml.

Presets set scale and places only; the method is one and the same object, configs/simclr.py.
"""

import ml_collections

from configs import simclr
from histo_simclr.errors import InputError


def get_config(preset: str = "sample") -> ml_collections.ConfigDict:
    """The recipe at the scale of `preset`."""
    presets = {"sample": sample, "overnight": overnight, "tenpercent": tenpercent, "full": full}
    if preset not in presets:
        raise InputError(
            f"no preset {preset!r}", where="--config", way_out=f"choose one of {', '.join(presets)}"
        )
    config = simclr.get_config()
    presets[preset](config)
    return config.lock()


def sample(config: ml_collections.ConfigDict) -> None:
    """About 7,800 patch passes over the embedded mix."""
    embedded(config)
    config.note = (
        "A demonstration: enough steps to leave chance level, far from enough for good features. "
        "The same program with :tenpercent is the paper's run."
    )
    config.online.patches = 500
    config.online.mix_patches = 300
    config.online.every = 50
    config.epochs = 2.5
    config.warmup_epochs = 0.5
    config.run.log_every = 10
    config.run.checkpoint_every = 50


def overnight(config: ml_collections.ConfigDict) -> None:
    """About 100,000 patch passes over the embedded mix: an hour on two cores."""
    embedded(config)
    config.note = (
        "As much as two cores do in an hour: the objective is learned, the features are not "
        "shown to be better than random ones (docs/benchmarks.md). Those need a GPU and real data."
    )
    config.online.every = 250
    config.epochs = 32.0
    config.warmup_epochs = 1.0
    config.run.log_every = 25


def tenpercent(config: ml_collections.ConfigDict) -> None:
    """The paper's second release: data/mixes/tenpercent.yaml, 400,000 patches, 1000 epochs."""
    config.run.keep_every = 78_100  # 100 epochs, as the paper's releases


def full(config: ml_collections.ConfigDict) -> None:
    """The paper's whole pool, data/mixes/paper57.yaml: as many patch passes as tenpercent."""
    config.epochs = 100.0
    config.warmup_epochs = 1.0
    config.run.keep_every = 78_100


def embedded(config: ml_collections.ConfigDict) -> None:
    """Places and sizes of the embedded mix and of what it is judged by."""
    config.data.mix = "data/sample/mix"
    config.data.px = 96
    config.views.px = 80  # not 64 or less: XLA's CPU convolutions fall off a cliff there
    config.batch_size = 64
    config.evaluation.records = ("data/sample/records/pcam",)
    # Its training split alone: the evaluation's test split is looked at once, at the end.
    config.online.records = "data/sample/records/pcam"
    config.run.checkpoint_every = 200
