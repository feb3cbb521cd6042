"""Cohorts against F1: pretraining on equally many patches of more and more cohorts.

histo-simclr experiment configs/experiments/cohorts.py --out runs/cohorts
"""

import ml_collections

from configs.experiments import scales

# Of the embedded cohorts, those that alone hold as many patches as a run of the sample takes.
EMBEDDED = ("brecahad", "dsb2018_tissue", "glomeruli_pas", "openslide_os2_ki67", "osteosarcoma")
EMBEDDED += ("pcam",)


def get_config(preset: str = "sample") -> ml_collections.ConfigDict:
    """The experiment at the scale of `preset`: sample or paper."""
    config = scales.at(preset)
    config.title = "Cohorts against macro-F1"
    config.question = "Of equally many images, do those of more cohorts give better features?"
    config.variable = "cohorts"
    mix, counts = {
        "sample": ({"cohorts": EMBEDDED, "size": 100, "draw": "even", "px": 96}, (1, 3, 6)),
        # The fewer are among the more, in an order that the seed decides. 50 are all that are left
        # of the 57 without those that judge.
        "paper": (
            {"recipe": "data/mixes/n_cohorts.yaml", "size": 40_000, "without": scales.JUDGED},
            (1, 5, 10, 20, 35, 50),
        ),
    }[preset]
    config.runs = [
        {"name": f"cohorts_{count}", "value": count, "mix": {**mix, "cohort_count": count}}
        for count in counts
    ]
    config.paper = [
        {
            "says": "combining datasets improves the features, mean of 5 sets",
            "number": scales.NOT_RECOVERED,
            "of": ("pretrained", counts[-1]),
            "minus": ("pretrained", counts[0]),
        }
    ]
    return config.lock()
