"""CAMELYON16: a lymph node's slide with or without metastasis (Ehteshami Bejnordi 2017).

Source, licence (CC0-1.0) and citation: `histo-simclr datasets CAMELYON16`. Slide level, not in the
paper: bags of up to 1000 tissue patches with the slide's label. The 270 training slides
(normal_001.tif, tumor_001.tif) alone: labels of the test slides lie in another file; who wants the
challenge's split gives a CSV by --labels with the columns path, label, split. PCam is cut from the
same slides. Needs the extra `slides`.
"""

import ml_collections

from configs import task


def get_task() -> ml_collections.ConfigDict:
    """The task; see configs/task.py."""
    return task.task(
        about=__doc__,
        kind="slides",
        cohort="CAMELYON16",
        metric="auroc",
        split_rule="by slide, 20 % of each class of the training slides held out",
        prepare="histo-simclr prepare raw/CAMELYON16/images --slides --name CAMELYON16 --out "
        "labelled --px 224 --mpp 0.5 --stain 'H&E' --organ 'lymph node' --only "
        "'{:normal|tumor}_*.tif' --pattern '{label}_*.tif' --holdout 0.2",
        records="camelyon16",
    )
