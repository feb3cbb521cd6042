"""The recipe: every key once, with meaning, unit and source.

Sources: paper = arXiv 2011.13971 (Ciga, Xu, Martel) and its authors' repository; SimCLR = arXiv
2002.05709 and google-research/simclr; ours = unknown in the paper, chosen here. Configurations of
runs (resnet18_mix.py …) change architecture, scale and places, never the method.
"""

import ml_collections

from configs import linear_eval


def get_config() -> ml_collections.ConfigDict:
    """The paper's method at the scale of its "tenpercent" release, on one GPU box or a pod."""
    config = ml_collections.ConfigDict()
    config.program = "pretrain"
    config.note = ""  # printed first: what to expect of this run
    config.seed = 0  # decides parameters, order of patches and views
    # Weights to start from: a workdir, a step's folder, an imported folder, or a file that imports
    # without flags; "": from scratch, as in the paper. The head comes along where it fits.
    config.init_from = ""

    config.batch_size = 512  # patches in the global batch; ours (google's CIFAR recipe, B 512)
    config.epochs = 1000.0  # paper
    config.warmup_epochs = 10.0  # SimCLR
    config.precision = "auto"  # bfloat16 compute on GPU and TPU, float32 on CPU; or name one

    config.model = ml_collections.ConfigDict()
    config.model.arch = "resnet18"  # paper: resnet18, 34, 50, 101
    config.model.hidden = 512  # projection head 512-512-128, ReLU: paper, from its released weights
    config.model.out = 128  # paper, from its released weights

    # Memory and speed; what each gives and costs: docs/benchmarks.md. All but microbatches change
    # roundings only: free to differ when a run is resumed.
    config.compute = ml_collections.ConfigDict()
    config.compute.space_to_depth = False  # the stem's 7x7 convolution as 4x4 on blocks of 2x2 px
    # Kept for the gradients: "none" recomputes nothing; "convolutions" keeps what convolutions give
    # and recomputes the rest; "blocks" keeps the residual blocks' inputs only.
    config.compute.remat = "none"
    # Parts that the batch goes through the network in, for batches beyond memory: gradients are
    # exact, but BatchNorm's statistics are those of a part (arXiv 2101.06983).
    config.compute.microbatches = 1
    config.compute.similarity_rows = 0  # of the similarity matrix at a time; 0: all 2 · batch_size

    config.data = ml_collections.ConfigDict()
    config.data.mix = "data/mix"  # folder written by `histo-simclr mix`
    config.data.px = 224  # px, side of the stored patches: paper
    config.data.max_corrupt = 0.001  # share of the mix; more damaged records stop the run: ours

    config.views = ml_collections.ConfigDict()
    config.views.px = 224  # px, side of the views: paper
    config.views.crop_scale = (0.2, 1.0)  # share of the area: ours (SimCLR: 0.08 to 1)
    config.views.crop_ratio = (3 / 4, 4 / 3)  # width / height, uniform in its logarithm: SimCLR
    config.views.horizontal_flip = 0.5  # probability; flips: paper, how often: ours
    config.views.vertical_flip = 0.5  # probability; as above
    config.views.quarter_turn = 1.0  # probability of 0 to 3 quarter turns; as above
    config.views.jitter_probability = 0.8  # SimCLR
    config.views.jitter_strength = 1.0  # s, multiplies the four below: SimCLR
    # Ours, half of SimCLR's 0.8: tissue is bright. At 0.8, 22 % of the views of the embedded
    # mix are nearly flat (standard deviation of their pixels below 0.05), at 0.4 7 %.
    config.views.brightness = 0.4  # factor from 1 ± 0.4 s
    config.views.contrast = 0.4  # factor from 1 ± 0.4 s
    config.views.saturation = 0.8  # factor from 1 ± 0.8 s: SimCLR
    config.views.hue = 0.2  # turns, shift from ± 0.2 s: SimCLR
    config.views.gray_probability = 0.2  # SimCLR
    config.views.blur_probability = 0.5  # SimCLR
    config.views.blur_sigma = (0.1, 2.0)  # px of a 224 px view, scaled with px; uniform: SimCLR
    config.views.mean = (0.5, 0.5, 0.5)  # of pixels in [0, 1]: paper (its issue 2)
    config.views.std = (0.5, 0.5, 0.5)  # of pixels in [0, 1]: paper (its issue 2)

    config.objective = ml_collections.ConfigDict()
    config.objective.name = "nt_xent"  # paper; or dcl (arXiv 2110.06848)
    config.objective.temperature = 0.2  # ours, tuned on training data (docs/benchmarks.md)

    config.optimizer = ml_collections.ConfigDict()
    config.optimizer.name = "lars"  # paper; or sgd, adamw
    config.optimizer.scaling = (
        "sqrt"  # peak rate = base_rate · √B: SimCLR; or linear (· B/256), none
    )
    # For sqrt scaling; ours, tuned on training data (docs/benchmarks.md). SimCLR's is 0.075; at
    # B 512 ours gives 0.57, the 0.6 of its linear rule.
    config.optimizer.base_rate = 0.025
    config.optimizer.momentum = 0.9  # SimCLR
    config.optimizer.weight_decay = 1e-6  # SimCLR; kernels only

    # Linear evaluation at the end of the run; () evaluates nothing.
    config.evaluation = linear_eval.defaults()
    config.evaluation.records = ()  # labelled record sets

    # What the features are worth while they are learned, in the metrics: a kNN and a probe on a
    # labelled set, and whether neighbors in the mix are of one cohort. Nothing of the training
    # depends on it: free to differ when a run is resumed. All values ours.
    config.online = ml_collections.ConfigDict()
    config.online.records = ""  # labelled record set; "": neither kNN nor probe
    config.online.split = "train"  # of it: one part is fitted, the other judged; no test split
    config.online.patches = 2000  # of that split, at most; they stay on the devices as uint8
    config.online.holdout = 1 / 3  # share of them that is judged; whole groups where known
    config.online.mix_patches = (
        1000  # of the mix, for the share of other cohorts; 0: no such figure
    )
    config.online.every = 1000  # steps; best a multiple of run.log_every, as each logs a line
    config.online.neighbors = 20  # of the kNN, and those whose cohort is looked at
    config.online.strength = 1000.0  # alpha of the probe, a ridge classifier
    config.online.seed = 0  # of what is drawn and what is held out

    # Changes neither the numbers nor their order: free to differ when a run is resumed.
    config.run = ml_collections.ConfigDict()
    config.run.log_every = 100  # steps
    config.run.checkpoint_every = 5000  # steps; the last step is saved as well
    config.run.keep = 3  # newest checkpoints kept
    config.run.keep_every = 0  # steps; a checkpoint at a multiple stays as well; 0: none
    config.run.prefetch = 2  # batches waiting on the device
    config.run.cache_decoded = False  # all patches decoded once, in the memory of each process
    return config
