"""BACH's slides: benign, in situ and invasive regions (Aresta 2019).

Source, licence (CC-BY-NC-ND-4.0) and citation: `histo-simclr datasets BACH`. One of the paper's
two segmentation sets: the 10 annotated slides (WSI/A01.svs with A01.xml …), cut into squares of
512 px at 0.934 µm/px where anything is annotated. Needs the extra `slides`.
"""

import ml_collections

from configs import task


def get_task() -> ml_collections.ConfigDict:
    """The task; see configs/task.py."""
    return task.task(
        about=__doc__,
        kind="segmentation",
        cohort="BACH",
        metric="dice",
        split_rule="by slide (10 annotated), as near to 20 % of the squares as slides allow",
        prepare="python data/tasks/bach_slides.py raw/BACH/ICIAR2018_BACH_Challenge/WSI "
        "raw/BACH/squares && histo-simclr prepare raw/BACH/squares/images --name "
        "BACH-slides --out labelled --px 512 --mpp 0.934 --stain 'H&E' --organ breast "
        "--pattern '{slide}_{}_{}.png' --masks '../masks/{stem}.png' --mask-classes "
        "background,benign,in_situ,invasive --holdout 0.2",
        records="bach_slides",
    )
