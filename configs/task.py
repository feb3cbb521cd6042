"""What every evaluation task says of itself; the tasks are the files in configs/tasks/."""

import ml_collections

# By which encoders can be compared, for each kind of task; the paper's first.
METRICS = {
    # One label a patch.
    "classification": ("macro_f1", "accuracy", "balanced_accuracy", "auroc"),
    # One number a patch.
    "regression": ("l1", "r2", "spearman"),
    # One class a pixel.
    "segmentation": ("dice", "iou"),
    # One label a slide, of which the patches are a bag: the slide or patient is judged.
    "slides": ("macro_f1", "accuracy", "balanced_accuracy", "auroc"),
}


def task(
    *,
    about: str,
    kind: str,
    cohort: str,
    metric: str,
    split_rule: str,
    prepare: str,
    records: str,
    train_split: str = "train",
    test_split: str = "test",
    bounds: tuple[float, float] = (float("-inf"), float("inf")),
) -> ml_collections.ConfigDict:
    """One task.

    Args:
      about: docstring of the task's file; the report has its first line.
      kind: one of METRICS.
      cohort: its name or alias in data/datasets.csv, which has source, licence and citation.
      metric: by which encoders are compared first, one of the kind's METRICS.
      split_rule: who is in train and who in test.
      prepare: the commands that make its record set from the download, joined by " && ": run in
        the repository, with the download in raw/ and the record sets in labelled/.
      records: its record set, as a path relative to the suite's folder of record sets (labelled/
        above); an absolute path stands for itself.
      train_split, test_split: of the record set.
      bounds: lowest and highest that a regression's target can be.
    """
    config = ml_collections.ConfigDict()
    config.kind, config.cohort, config.metric = kind, cohort, metric
    config.split_rule, config.prepare = split_rule, prepare
    config.about, config.records = about.splitlines()[0], records
    config.train_split, config.test_split = train_split, test_split
    config.bounds = bounds
    return config
