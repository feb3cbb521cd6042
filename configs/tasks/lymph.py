"""Lymph: CLL, FL or MCL; 3 classes of malignant lymphoma (IICBU 2008, Orlov 2010).

Source, licence (NOASSERTION: none stated) and citation: `histo-simclr datasets Lymph`. One of the
paper's five. Its images are named CLL/sj-03-2810_001.tif: what stands before the last _ is taken
for the case. Of cases with an -R1, -R2 each part counts as one.
"""

import ml_collections

from configs import task


def get_task() -> ml_collections.ConfigDict:
    """The task; see configs/task.py."""
    return task.task(
        about=__doc__,
        kind="classification",
        cohort="Lymph",
        metric="macro_f1",
        split_rule="by case, about 20 % of the images of each class held out",
        prepare="histo-simclr prepare raw/Lymph --name Lymph --out labelled --px 224 --stain "
        "'H&E' --organ 'lymph node' --pattern '{label}/{patient}_{}.tif' --holdout 0.2",
        records="lymph",
    )
