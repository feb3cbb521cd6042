"""Glomeruli in PAS-stained kidney (AIDPATH; Bueno 2020).

Source, licence (CC-BY-4.0) and citation: `histo-simclr datasets AIDPATH`. A small public stand-in
with another stain, not in the paper: images/10003.png and masks/10003.png, red where a glomerulus
is, as github.com/sarah-antillia/TensorFlow-FlexUNet-Tiled-Image-Segmentation-Glomeruli has them.
Slides are unknown.
"""

import ml_collections

from configs import task


def get_task() -> ml_collections.ConfigDict:
    """The task; see configs/task.py."""
    return task.task(
        about=__doc__,
        kind="segmentation",
        cohort="AIDPATH",
        metric="dice",
        split_rule="by image, 25 % held out; slides and patients are unknown",
        prepare="histo-simclr prepare raw/glomeruli_pas/images --name glomeruli_pas --out "
        "labelled --px 512 --cut 1024 --mpp 0.5 --stain PAS --organ kidney --pattern "
        "'{slide}.png' --masks '../masks/{stem}.png' --mask-classes "
        "'background=#000000,glomerulus=#ff0000' --holdout 0.25",
        records="glomeruli_pas",
    )
