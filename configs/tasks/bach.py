"""BACH: normal, benign, in situ or invasive breast tissue; 4 classes (Aresta 2019).

Source, licence (CC-BY-NC-ND-4.0) and citation: `histo-simclr datasets BACH`. One of the paper's
five classification sets. The challenge's own test labels are hidden, so a part of the 400 images
(Photos/Benign/b001.tif …, 2048 x 1536 px) is held out. Their names do not tell patients, who have
several images each: numbers flatter every encoder alike. Who has the challenge's list of patients
gives it as a CSV instead of the pattern: --labels with the columns path, label, patient.
"""

import ml_collections

from configs import task


def get_task() -> ml_collections.ConfigDict:
    """The task; see configs/task.py."""
    return task.task(
        about=__doc__,
        kind="classification",
        cohort="BACH",
        metric="macro_f1",
        split_rule="by image, 20 % of each class held out; patients are unknown",
        prepare="histo-simclr prepare raw/BACH/ICIAR2018_BACH_Challenge/Photos --name BACH "
        "--out labelled --px 224 --cut 512 --mpp 0.42 --stain 'H&E' --organ breast "
        "--pattern '{label}/{slide}.tif' --holdout 0.2",
        records="bach",
    )
