"""Nuclei in stained sections of many organs (Data Science Bowl 2018; Caicedo 2019).

Source, licence (CC0-1.0) and citation: `histo-simclr datasets DSB2018-histology`. A small public
stand-in that is not in the paper: the stained images of stage1_train, whose masks of one nucleus
each are merged first. Some are crops of one section; which, the source does not say.
"""

import ml_collections

from configs import task


def get_task() -> ml_collections.ConfigDict:
    """The task; see configs/task.py."""
    return task.task(
        about=__doc__,
        kind="segmentation",
        cohort="DSB2018-histology",
        metric="dice",
        split_rule="by image, 25 % held out; sections and patients are unknown",
        prepare="python data/tasks/dsb2018.py raw/DSB2018/stage1_train raw/DSB2018/merged && "
        "histo-simclr prepare raw/DSB2018/merged/images --name DSB2018-tissue --out "
        "labelled --px 256 --stain 'H&E' --organ multiple --pattern '{slide}.png' "
        "--masks '../masks/{stem}.png' --mask-classes background=0,nucleus=1-65535 "
        "--holdout 0.25",
        records="dsb2018_tissue",
    )
