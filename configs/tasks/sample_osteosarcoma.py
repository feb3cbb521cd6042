"""The embedded osteosarcoma set: viable, non-viable or no tumor; 3 classes (Leavey 2019).

Runs from a fresh clone with data=data/sample/records; README.md there has credits and sizes.
Source, licence (CC-BY-3.0) and citation: `histo-simclr datasets Osteosarcoma`. Four patients: it
shows that the program works, and little of an encoder.
"""

import ml_collections

from configs import task


def get_task() -> ml_collections.ConfigDict:
    """The task; see configs/task.py."""
    return task.task(
        about=__doc__,
        kind="classification",
        cohort="Osteosarcoma",
        metric="macro_f1",
        split_rule="by patient: Case-4 to test, Case-3, Case-48 and P9 to train",
        prepare="bash data/sample/build.sh TISSUE",
        records="osteosarcoma",
    )
