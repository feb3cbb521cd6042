"""Images against F1: pretraining on more and more patches of the same cohorts.

histo-simclr experiment configs/experiments/images.py --out runs/images
"""

import ml_collections

from configs.experiments import scales


def get_config(preset: str = "sample") -> ml_collections.ConfigDict:
    """The experiment at the scale of `preset`: sample or paper."""
    config = scales.at(preset)
    config.title = "Images against macro-F1"
    config.question = "Do more images give better features, and from how many on no longer?"
    config.variable = "images"
    mix, sizes = {
        "sample": ({"recipe": "data/mixes/embedded.yaml"}, (250, 1_000, 3_161)),
        # Ours; 40,000 and 400,000 are about the sizes of the paper's first and second release.
        "paper": (
            {"recipe": "data/mixes/tenpercent.yaml", "without": scales.JUDGED},
            (4_000, 12_000, 40_000, 100_000, 400_000),
        ),
    }[preset]
    config.runs = [
        {"name": f"images_{size}", "value": size, "mix": {**mix, "size": size}} for size in sizes
    ]
    most, fewer, few = sizes[-1], sizes[-2], sizes[-3]
    config.paper = [
        {
            "says": "frozen, self-supervised ResNet-18, mean of 5 sets (its mix: not stated)",
            "number": "69.3",
            "protocol": "linear",
            "of": ("pretrained", most),
        },
        {
            "says": "frozen, random ResNet-18, mean of 5 sets",
            "number": "35.5",
            "protocol": "linear",
            "of": ("random init", None),
        },
        {
            "says": "400,000 images against the first release of about a tenth, mean of 5 sets",
            "number": "> +2",
            "of": ("pretrained", most),
            "minus": ("pretrained", few),
        },
        {
            "says": "diminishing returns beyond about 50,000 images (from a survey)",
            "number": scales.NOT_RECOVERED,
            "of": ("pretrained", most),
            "minus": ("pretrained", fewer),
        },
    ]
    return config.lock()
