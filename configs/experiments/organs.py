"""One organ against a mix of all: pretraining on equally many patches of each.

histo-simclr experiment configs/experiments/organs.py --out runs/organs
"""

import ml_collections

from configs.experiments import scales


def get_config(preset: str = "sample") -> ml_collections.ConfigDict:
    """The experiment at the scale of `preset`: sample or paper."""
    config = scales.at(preset)
    config.title = "Organ against macro-F1"
    config.question = "Must the organ of pretraining be that of the task, or is a mix better?"
    config.variable = "organ"
    # Organ → cohorts, and which of these to leave out.
    mix, organs = {
        "sample": (
            {"size": 300, "draw": "even", "px": 96},
            {"bone": (("osteosarcoma",), ()), "lymph node": (("pcam",), ()), "mix": ((), ())},
        ),
        # Three organs that the paper's tasks are of, two that none is of.
        "paper": (
            {"recipe": "data/mixes/single_cohort.yaml", "size": 40_000},
            {
                "breast": (("list:core57,organ:breast",), ("BACH", "BreakHis", "BreastPathQ")),
                "colon": (("list:core57,organ:colon",), ("NCT-CRC-HE-100K", "DigestPath2019")),
                "prostate": (("list:core57,organ:prostate",), ("Gleason2019",)),
                "lung": (("list:core57,organ:lung",), ()),
                "kidney": (("list:core57,organ:kidney",), ()),
                "mix": (("list:core57",), scales.JUDGED),
            },
        ),
    }[preset]
    config.runs = [
        {
            "name": f"organ_{organ.replace(' ', '_')}",
            "value": organ,
            "mix": {**mix, "cohorts": cohorts, "without": without},
        }
        for organ, (cohorts, without) in organs.items()
    ]
    config.paper = [
        {
            "says": f"a mix is better than one organ (here: {organ})",
            "number": scales.NOT_RECOVERED,
            "of": ("pretrained", "mix"),
            "minus": ("pretrained", organ),
        }
        for organ in organs
        if organ != "mix"
    ]
    return config.lock()
