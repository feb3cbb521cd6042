"""BreastPathQ: tumor cellularity of a patch, 0 to 1 (Petrick 2021).

Source, licence (LicenseRef-research-only, registration) and citation: `histo-simclr datasets
BreastPathQ`. The paper's regression; its L1 is reported times 100. Of the validation patches two
pathologists' scores are averaged. The CSV has the columns path, split, slide, target; patients are
unknown, so slides are the groups: one in both parts would be refused.
"""

import ml_collections

from configs import task


def get_task() -> ml_collections.ConfigDict:
    """The task; see configs/task.py."""
    return task.task(
        about=__doc__,
        kind="regression",
        cohort="BreastPathQ",
        metric="l1",
        split_rule="the challenge's: 2,394 patches to train, 185 to validate",
        prepare="python data/tasks/breastpathq.py raw/breastpathq raw/breastpathq/targets.csv "
        "&& histo-simclr prepare raw/breastpathq --name BreastPathQ --out labelled "
        "--px 224 --cut 512 --mpp 0.5 --stain 'H&E' --organ breast --labels "
        "raw/breastpathq/targets.csv",
        records="breastpathq",
        bounds=(0.0, 1.0),
    )
