"""One resolution against several: pretraining on equally many patches of each.

histo-simclr experiment configs/experiments/resolutions.py --out runs/resolutions
"""

import ml_collections

from configs.experiments import scales


def get_config(preset: str = "sample") -> ml_collections.ConfigDict:
    """The experiment at the scale of `preset`: sample or paper."""
    config = scales.at(preset)
    config.title = "Resolution against macro-F1"
    config.question = "Which resolution gives better features, and are several better than one?"
    config.variable = "resolution"
    # µm/px, from and below; octaves as in data/mixes/single_resolution.yaml. Patches that do not
    # say theirs are in none. The embedded ones are coarser, as they were made small.
    mix, bounds = {
        "sample": (
            {"size": 200, "draw": "even", "px": 96},
            {
                "0.5 µm/px": (0.354, 0.707),
                "1 µm/px": (0.707, 1.414),
                "2 µm/px": (1.414, 2.828),
                "mixed": (0.354, 2.828),
            },
        ),
        "paper": (
            {
                "recipe": "data/mixes/single_resolution.yaml",
                "size": 40_000,
                "without": scales.JUDGED,
            },
            {
                "40x": (0.177, 0.354),
                "20x": (0.354, 0.707),
                "10x": (0.707, 1.414),
                "mixed": (0.177, 1.414),
            },
        ),
    }[preset]
    config.runs = [
        {
            "name": f"resolution_{value.replace('µm/px', 'mpp').replace(' ', '')}",
            "value": value,
            "mix": {**mix, "mpp": mpp},
        }
        for value, mpp in bounds.items()
    ]
    finest, *_, coarsest, mixed = bounds
    config.paper = [
        {
            "says": "higher resolution is better (finest against coarsest here)",
            "number": scales.NOT_RECOVERED,
            "of": ("pretrained", finest),
            "minus": ("pretrained", coarsest),
        },
        {
            "says": "combining resolutions is better still (against the finest here)",
            "number": scales.NOT_RECOVERED,
            "of": ("pretrained", mixed),
            "minus": ("pretrained", finest),
        },
    ]
    return config.lock()
