"""Linear evaluation of a checkpoint on a labelled record set.

  python main.py --config=configs/linear_eval.py --config.checkpoint=WORKDIR --workdir=OUT

Prints random init | color histogram | pretrained with 95 % intervals, and leaves results.json and
the confusion matrix in OUT.
"""

import ml_collections
from ml_collections import config_dict


def get_config() -> ml_collections.ConfigDict:
    """One evaluation; keys of `defaults` apply."""
    config = defaults()
    config.program = "linear_eval"
    config.checkpoint = config_dict.placeholder(str)  # workdir, or one step's folder in it
    # Labelled record set; or tfds:NAME[/CONFIG][:VERSION], which is prepared into the workdir.
    config.records = "data/sample/records/pcam"
    return config.lock()


def defaults() -> ml_collections.ConfigDict:
    """How an encoder is judged; at the end of a pretraining run too."""
    config = ml_collections.ConfigDict()
    config.train_split = "train"
    config.test_split = "test"
    config.batch_size = 128  # patches at a time while features are extracted; changes no result
    # C of scikit-learn's objective, on standardized features; ours: half decades around 1/features.
    config.strengths = (1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0)
    config.validation_fraction = 0.2  # of the training split, whole groups; chooses C: ours
    config.resamples = 2000  # of the bootstrap: ours
    config.seed = 0  # of random init, validation split and bootstrap
    # Rows beside "pretrained", without which its numbers mean little: ours.
    config.floors = ("random init", "color histogram")
    return config
