"""Encoders x tasks x protocols x labels x seeds: the paper's tables for checkpoints of yours.

  python main.py --config=configs/evaluate.py --config.checkpoints=WORKDIR      the embedded sets
  python main.py --config=configs/evaluate.py:paper --config.data=/data/labelled
      --config.checkpoints=ours=WORKDIR,imagenet=features:FOLDER                the paper's tasks

Prints the tables and leaves report.html, results.json, results.csv and differences.csv in the
workdir. The same command goes on where it was stopped; more checkpoints, tasks or seeds keep what
is there. Sources: configs/linear_eval.py, finetune.py, segment.py; where none is named: ours.
"""

import ml_collections

from configs import finetune, linear_eval, segment
from configs.tasks import (
    bach,
    bach_segmentation,
    breakhis,
    breastpathq,
    camelyon16,
    digestpath,
    glas,
    gleason2019,
    glomeruli,
    kather2016,
    lymph,
    nct_crc,
    nuclei,
    pcam,
    sample_osteosarcoma,
    sample_pcam,
)
from histo_simclr.errors import InputError


def get_config(preset: str = "sample") -> ml_collections.ConfigDict:
    """The suite with the tasks and protocols of `preset`."""
    presets = {"sample": sample, "paper": paper}
    if preset not in presets:
        raise InputError(
            f"no preset {preset!r}", where="--config", way_out=f"choose one of {', '.join(presets)}"
        )
    config = suite()
    presets[preset](config)
    return config.lock()


def suite() -> ml_collections.ConfigDict:
    """Everything but tasks and their data."""
    config = ml_collections.ConfigDict()
    config.program = "evaluate"
    # What is judged, separated by commas, each [NAME=]PLACE: a workdir (its newest checkpoint), one
    # step's folder, or features:FOLDER of features computed elsewhere.
    config.checkpoints = ""
    config.floors = ("random init", "color histogram")  # rows without which numbers mean little
    config.data = ""  # folder of labelled record sets; the tasks' `records` lie in it
    config.choose = ""  # names of tasks, separated by commas; all of them when empty
    config.skip_missing = False  # go on without record sets that are not there
    # Judge although test pixels or look-alikes are in the training split, or any of a test split
    # was in a checkpoint's mix; the report then shows it. Patients and slides on both sides of a
    # split are refused whatever this says.
    config.allow_leaks = False
    config.near_distance = 4  # bits in which perceptual hashes of look-alikes differ at most

    config.seeds = (0, 1, 2)  # of folds, subsets, orders and fresh layers
    config.random_seed = 0  # of random init's parameters
    config.fractions = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0)  # of each class's training labels
    config.shots = (1, 5, 10)  # training labels a class, whatever its size
    # Protocols that are run; those that do not fit a task's kind are passed over.
    config.protocols = ("linear", "knn", "centroid", "sgd", "ridge", "mean_pool", "attention")
    config.few_labels = (
        "linear",
        "centroid",
    )  # of these, the ones also run on fewer labels than all

    config.batch_size = 128  # patches at a time while features are extracted; changes no result
    config.precision = "auto"  # of fine-tuning: bfloat16 on GPU and TPU, float32 on CPU
    config.resamples = 2000  # of the bootstrap
    config.permutations = 2000  # of each paired test
    config.margin = (
        0.05  # difference that would matter, for the power note; of targets: of their range
    )

    # Settings of each protocol.
    config.settings = ml_collections.ConfigDict()
    probe = {"strengths": linear_eval.defaults().strengths, "folds": 5}
    config.settings.linear = ml_collections.ConfigDict(probe)
    config.settings.mean_pool = ml_collections.ConfigDict(probe)
    # Stacke et al. (arXiv 2112.05760): Adam. The paper's own recipe is unknown.
    config.settings.sgd = ml_collections.ConfigDict(
        {"epochs": 100, "batch_size": 512, "rate": 1e-3, "decay": 1e-6, "standardize": False}
    )
    # k of DINO's code and fewer, T of instance discrimination (arXiv 1805.01978).
    config.settings.knn = ml_collections.ConfigDict(
        {"neighbors": (1, 5, 10, 20, 50, 100, 200), "temperature": 0.07, "folds": 5}
    )
    config.settings.centroid = ml_collections.ConfigDict({"metric": "cosine", "temperature": 0.07})
    # alpha of scikit-learn's Ridge, on standardized features.
    config.settings.ridge = ml_collections.ConfigDict(
        {"strengths": tuple(10.0**power for power in range(-2, 7)), "folds": 5}
    )
    config.settings.least_squares = ml_collections.ConfigDict()
    config.settings.finetune = finetune.finetune_defaults()
    config.settings.finetune.validation_fraction = 0.2  # of the training split, whole groups
    for name, encoder_rate in (("unet_frozen", 0.0), ("unet_finetuned", 0.1)):
        config.settings[name] = _unet(encoder_rate)
    # Gated attention (arXiv 1802.04712): width 128; the rest ours.
    config.settings.attention = ml_collections.ConfigDict(
        {
            "most": 1000,  # patches a slide
            "validation_fraction": 0.2,
            "hidden": 128,
            "epochs": 100,
            "patience": 15,
            "batch_size": 16,  # slides
            "rate": 1e-4,
            "decay": 1e-4,
        }
    )

    # Pictures of the features themselves, over patches of all tasks.
    config.look = ml_collections.ConfigDict()
    config.look.patches = 1000  # drawn evenly over tasks and classes; 0: no pictures
    config.look.queries = 10  # patches shown with their nearest neighbors
    config.look.near = 8  # neighbors of each
    config.look.perplexity = 30.0  # of t-SNE: scikit-learn's default
    config.look.cluster_count = 8  # of k-means
    config.look.typical = 10  # patches shown of each cluster
    config.look.folds = 5  # of the probes for cohort, stain, magnification
    config.look.strength = 0.01  # C of these, the same for all encoders
    config.look.resamples = 500  # of their intervals
    config.look.places = 200  # patches looked at under several magnifications
    config.look.batch_size = 64  # of these, divisible by the devices; changes no result
    config.look.seed = 0
    config.tasks = ml_collections.ConfigDict()
    return config


def sample(config: ml_collections.ConfigDict) -> None:
    """The embedded labelled sets: what runs from a fresh clone."""
    config.data = "data/sample/records"
    config.tasks.sample_pcam = sample_pcam.get_task()
    config.tasks.sample_osteosarcoma = sample_osteosarcoma.get_task()


def paper(config: ml_collections.ConfigDict) -> None:
    """The paper's tasks and public stand-ins, frozen and fine-tuned."""
    config.data = "labelled"  # where the tasks' `prepare` commands put them
    config.protocols += ("least_squares", "finetune", "unet_frozen", "unet_finetuned")
    modules = {
        "bach": bach,
        "lymph": lymph,
        "nct_crc": nct_crc,
        "gleason2019": gleason2019,
        "pcam": pcam,
        "kather2016": kather2016,
        "breastpathq": breastpathq,
        "digestpath": digestpath,
        "bach_segmentation": bach_segmentation,
        "glas": glas,
        "nuclei": nuclei,
        "glomeruli": glomeruli,
        "camelyon16": camelyon16,
    }
    for name, module in modules.items():
        config.tasks[name] = module.get_task()
    for power in (40, 100, 200, 400):
        config.tasks[f"breakhis_{power}"] = breakhis.get_task(power)


def _unet(encoder_rate: float) -> ml_collections.ConfigDict:
    config = segment.defaults()
    config.encoder_rate = encoder_rate
    config.overlap_of_tiles = config.overlap
    del config.overlap, config.seed
    return config
