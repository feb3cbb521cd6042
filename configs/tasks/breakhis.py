"""BreakHis at one magnification: benign or malignant breast tumor (Spanhol 2016).

Source, licence (CC-BY-4.0, on request) and citation: `histo-simclr datasets BreakHis`. One of the
paper's five, binary. Its 40, 100, 200, 400 are total magnifications (eyepiece times objective):
four tasks, which one number would mix. Label and patient stand in the file name:
SOB_B_A-14-22549AB-40-001.png is benign, patient 22549AB. As with the authors 22549AB and 22549CD
count as two patients; they may be two slides of one. The authors' five folds are another download;
one split of the same kind, 82 patients, is drawn here.
"""

import ml_collections

from configs import task


def get_task(power: int) -> ml_collections.ConfigDict:
    """The task at `power`, 40, 100, 200 or 400; see configs/task.py."""
    return task.task(
        about=__doc__,
        kind="classification",
        cohort="BreakHis",
        metric="macro_f1",
        split_rule="by patient, about 20 % of the images of each class held out",
        prepare=f"histo-simclr prepare raw/BreaKHis_v1 --name BreakHis --out "
        f"labelled/breakhis_{power} --px 224 --cut 460 --stain 'H&E' --organ breast "
        f"--only '**/{power}X/*' --pattern "
        f"'**/SOB_{{label:B|M}}_{{}}-{{patient}}-{power}-{{}}.png' --holdout 0.2",
        records=f"breakhis_{power}",
    )
