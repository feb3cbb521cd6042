"""Labels against F1: one pretraining, judged with fewer and fewer labels beside its floors.

histo-simclr experiment configs/experiments/labels.py --out runs/labels
"""

import ml_collections

from configs.experiments import scales


def get_config(preset: str = "sample") -> ml_collections.ConfigDict:
    """The experiment at the scale of `preset`: sample or paper."""
    config = scales.at(preset)
    config.title = "Label fraction against macro-F1"
    config.question = "How much does pretraining gain where labels are few?"
    config.variable = "share of the labels"
    # Without a value: the evaluation's fractions are the variable.
    mix = {
        "sample": {"recipe": "data/mixes/embedded.yaml", "size": 3_161},
        "paper": {
            "recipe": "data/mixes/tenpercent.yaml",
            "size": 400_000,
            "without": scales.JUDGED,
        },
    }[preset]
    config.runs = [{"name": "mix", "value": None, "mix": mix}]
    few = (0.01, 0.05, 0.1, 0.25, 0.5)
    config.evaluate_overrides = {
        "sample": scales.evaluation(("linear", "knn"), few_labels=few),
        "paper": scales.evaluation(
            ("linear", "knn", "finetune"), few_labels=few, choose=scales.PAPER_TASKS
        ),
    }[preset]
    config.paper = [
        {
            "says": "NCT-CRC-HE-100K with 5 % of the labels, against training from scratch",
            "number": "> +40",
            "protocol": "finetune",
            "task": "nct_crc",
            "of": ("pretrained", 0.05),
            "minus": ("random init", 0.05),
        },
        {
            "says": "all labels, frozen, self-supervised against random ResNet-18, mean of 5 sets",
            "number": "69.3 - 35.5 = +33.8",
            "protocol": "linear",
            "of": ("pretrained", 1.0),
            "minus": ("random init", 1.0),
        },
        {
            "says": "all labels, fine-tuned, self-supervised against random ResNet-18, mean of 5",
            "number": "77.0 - 55.7 = +21.3",
            "protocol": "finetune",
            "of": ("pretrained", 1.0),
            "minus": ("random init", 1.0),
        },
    ]
    return config.lock()
