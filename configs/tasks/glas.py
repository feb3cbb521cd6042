"""GlaS: where the glands are (Sirinukunwattana 2017).

Source, licence (LicenseRef-research-only) and citation: `histo-simclr datasets GlaS`. A public
stand-in that is not among the paper's segmentation sets. Names say the split (train_1.bmp,
testA_1.bmp, testB_1.bmp; masks train_1_anno.bmp number the glands); both test parts are one here.
Patients stand in Grade.csv, which is not read: whether the challenge's split keeps them apart was
not checked.
"""

import ml_collections

from configs import task


def get_task() -> ml_collections.ConfigDict:
    """The task; see configs/task.py."""
    return task.task(
        about=__doc__,
        kind="segmentation",
        cohort="GlaS",
        metric="dice",
        split_rule="the challenge's: 85 images to train, 80 (parts A and B) to test",
        prepare="histo-simclr prepare raw/Warwick_QU --name GlaS --out labelled --px 256 "
        "--cut 256 --mpp 0.62 --stain 'H&E' --organ colon --pattern "
        "'{split:train|test}{slide}.bmp' --masks '{folder}/{stem}_anno.bmp' "
        "--mask-classes background=0,gland=1-255",
        records="glas",
    )
