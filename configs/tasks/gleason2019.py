"""Gleason2019: no tissue, benign, or grade 3, 4, 5 of prostate cancer; 5 classes (Nir 2018).

Source, licence (CC-BY-NC-SA-4.0, registration) and citation: `histo-simclr datasets Gleason2019`.
One of the paper's five; which five classes it had is not known. A patch of 448 px has the class of
most votes of the up to six pathologists' maps, if that is half of them or more; see
data/tasks/gleason2019.py. The challenge's test labels are hidden, so cores are held out.
"""

import ml_collections

from configs import task


def get_task() -> ml_collections.ConfigDict:
    """The task; see configs/task.py."""
    return task.task(
        about=__doc__,
        kind="classification",
        cohort="Gleason2019",
        metric="macro_f1",
        split_rule="by core, about 20 % of each class of the 244 training cores held out",
        prepare="python data/tasks/gleason2019.py raw/gleason2019 raw/gleason2019/patches && "
        "histo-simclr prepare raw/gleason2019/patches --name Gleason2019 --out "
        "labelled --px 224 --cut 448 --mpp 0.25 --stain 'H&E' --organ prostate "
        "--pattern '{label}/{slide}_{}_{}.png' --holdout 0.2",
        records="gleason2019",
    )
