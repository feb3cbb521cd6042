"""Kather 2016: 8 textures of colorectal tissue, 150 px patches (Kather 2016).

Source, licence (CC-BY-4.0) and citation: `histo-simclr datasets Kather-texture-2016`. TFDS has one
split, but keeps the file names, such as 10009_CRC-Prim-HE-03_009.tif_Row_301_Col_151.tif: ten
slides, 01 to 10. A split by patch, as often reported, has every slide on both sides.
"""

import ml_collections

from configs import task


def get_task() -> ml_collections.ConfigDict:
    """The task; see configs/task.py."""
    return task.task(
        about=__doc__,
        kind="classification",
        cohort="Kather-texture-2016",
        metric="macro_f1",
        split_rule="by slide (10), as near to 20 % of each class as slides allow",
        prepare="histo-simclr prepare tfds:colorectal_histology --name Kather-texture-2016 "
        "--out labelled --px 224 --cut 150 --mpp 0.495 --stain 'H&E' --organ colon "
        "--pattern '*CRC-Prim-HE-{slide:01|02|03|04|05|06|07|08|09|10}*' --holdout 0.2",
        records="kather_texture_2016",
    )
