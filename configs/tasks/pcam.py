"""PatchCamelyon: tumor in the centre of a 96 px patch of a lymph node, or not (Veeling 2018).

Source, licence (CC0-1.0) and citation: `histo-simclr datasets PCam`. A public stand-in that is not
in the paper. CAMELYON16's pixels: leave that cohort out of the mix.
"""

import ml_collections

from configs import task


def get_task() -> ml_collections.ConfigDict:
    """The task; see configs/task.py."""
    return task.task(
        about=__doc__,
        kind="classification",
        cohort="PCam",
        metric="auroc",
        split_rule="the authors', as in TFDS: by slide of CAMELYON16",
        prepare="histo-simclr prepare tfds:patch_camelyon --name PCam --out labelled --px 96 "
        "--mpp 0.97 --stain 'H&E' --organ 'lymph node'",
        records="pcam",
    )
