"""The embedded part of PCam: tumor in the centre of the patch, or not (Veeling 2018).

Runs from a fresh clone with data=data/sample/records; README.md there has credits and sizes.
Source, licence (CC0-1.0) and citation: `histo-simclr datasets PCam`. Rows carry no slide number.
"""

import ml_collections

from configs import task


def get_task() -> ml_collections.ConfigDict:
    """The task; see configs/task.py."""
    return task.task(
        about=__doc__,
        kind="classification",
        cohort="PCam",
        metric="macro_f1",
        split_rule="by slide of CAMELYON16: train of the authors' train, test of their valid",
        prepare="bash data/sample/build.sh TISSUE",
        records="pcam",
    )
