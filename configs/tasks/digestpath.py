"""DigestPath2019: where a colonoscopy's tissue is malignant (Da 2022).

Source, licence (LicenseRef-research-only, registration) and citation: `histo-simclr datasets
DigestPath2019`. One of the paper's two segmentation sets: its 250 positive images with masks,
which are JPEG and so told apart at half brightness; the negative ones have no masks. The part of a
file name before -lv1- is taken for the slide.
"""

import ml_collections

from configs import task


def get_task() -> ml_collections.ConfigDict:
    """The task; see configs/task.py."""
    return task.task(
        about=__doc__,
        kind="segmentation",
        cohort="DigestPath2019",
        metric="dice",
        split_rule="by slide, about 20 % of the images held out; patients are unknown",
        prepare="histo-simclr prepare raw/digestpath/tissue-train-pos-v1 --name "
        "DigestPath2019 --out labelled --px 512 --cut 1024 --stain 'H&E' --organ "
        "colon --pattern '{slide}-lv1-{}.jpg' --masks '{folder}/{stem}_mask.jpg' "
        "--mask-classes background=0-127,malignant=128-255 --holdout 0.2",
        records="digestpath2019",
    )
