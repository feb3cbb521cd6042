"""What the experiments have in common at each scale: places, pretraining, evaluation, seeds.

An experiment adds its title, question, variable, runs and what the paper says. Its shape, and what
each key means: histo_simclr/experiment/declared.py.
"""

import ml_collections

from histo_simclr.errors import InputError

NOT_RECOVERED = "not recovered"
# What the paper's tasks are made of: never drawn, so that no test picture has been seen before. The
# paper may have done otherwise; it is not known to us.
JUDGED = ("BACH", "Lymph", "BreakHis", "NCT-CRC-HE-100K", "Gleason2019", "DigestPath2019")
JUDGED += ("BreastPathQ",)
# The five sets that its averages are over; BreakHis counts once (experiment/collect.py).
PAPER_TASKS = "bach,lymph,nct_crc,gleason2019,breakhis_40,breakhis_100,breakhis_200,breakhis_400"


def at(preset: str) -> ml_collections.ConfigDict:
    """An experiment without its runs, at the scale of `preset`: sample or paper."""
    scales = {"sample": sample, "paper": paper}
    if preset not in scales:
        raise InputError(
            f"no preset {preset!r}",
            where="experiment",
            way_out=f"choose one of {', '.join(scales)}",
        )
    config = ml_collections.ConfigDict()
    config.program = "experiment"
    scales[preset](config)
    return config


def sample(config: ml_collections.ConfigDict) -> None:
    """The embedded record sets; some minutes on two cores."""
    config.note = (
        "A demonstration of the machinery on a few thousand embedded patches and a few dozen "
        "steps: it tells nothing of the paper's claims. The preset paper asks the question."
    )
    config.records = ("data/sample/records",)
    config.pretrain = "configs/resnet18_mix.py:sample"
    config.pretrain_overrides = {
        "evaluation": {"records": ()}
    }  # the suite judges, once for all runs
    config.steps = 40
    config.evaluate = "configs/evaluate.py:sample"
    config.evaluate_overrides = evaluation(("linear", "knn"))
    config.seeds = (0,)


def paper(config: ml_collections.ConfigDict) -> None:
    """Mixes of data/mixes, the paper's tasks; days of GPU time (README)."""
    config.note = (
        "The paper's question at a scale of our choosing: its sizes, steps and cohorts are not "
        "known to us."
    )
    config.records = ()  # --records says where they lie
    config.pretrain = "configs/resnet18_mix.py:tenpercent"
    config.pretrain_overrides = {}
    # Of every run, whatever its mix holds, so that runs differ in their patches and not in how long
    # they were trained: 100 epochs of 400,000 patches, 1000 of 40,000. Ours.
    config.steps = 78_100
    config.evaluate = "configs/evaluate.py:paper"
    config.evaluate_overrides = evaluation(("linear", "knn"), choose=PAPER_TASKS)  # frozen
    config.seeds = (0, 1, 2)


def evaluation(
    protocols: tuple[str, ...], *, few_labels: tuple[float, ...] = (), choose: str = ""
) -> dict:
    """Overrides of configs/evaluate.py: by these protocols, with all labels and with fewer."""
    return {
        "protocols": protocols,
        "few_labels": protocols if few_labels else (),
        "fractions": (*few_labels, 1.0),
        "shots": (),
        "choose": choose,
    }
