"""NCT-CRC-HE-100K → CRC-VAL-HE-7K: 9 tissue classes of colorectal cancer (Kather 2018).

Source, licence (CC-BY-4.0) and citation: `histo-simclr datasets NCT-CRC-HE-100K`. One of the
paper's five. Patients are not named; the test patches are of 50 others.
"""

import ml_collections

from configs import task


def get_task() -> ml_collections.ConfigDict:
    """The task; see configs/task.py."""
    return task.task(
        about=__doc__,
        kind="classification",
        cohort="NCT-CRC-HE-100K",
        metric="macro_f1",
        split_rule="the authors': 100,000 patches to train, 7,180 of 50 other patients to test",
        prepare="mkdir -p raw/nct && ln -sfn ../NCT-CRC-HE-100K raw/nct/train && ln -sfn "
        "../CRC-VAL-HE-7K raw/nct/test && histo-simclr prepare raw/nct --name "
        "NCT-CRC-HE-100K --out labelled --px 224 --mpp 0.5 --stain 'H&E' --organ "
        "colon --pattern '{split}/{label}/*'",
        records="nct_crc_he_100k",
    )
