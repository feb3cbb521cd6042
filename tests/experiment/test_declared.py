"""The five experiments: their presets, and what an experiment file may get wrong."""

import pytest

from histo_simclr.errors import InputError
from histo_simclr.experiment import declared

NAMES = ("images", "cohorts", "resolutions", "organs", "labels")
FILE = """
import ml_collections

from configs.experiments import images


def get_config():
    config = images.get_config().copy_and_resolve_references().unlock()
    {change}
    return config.lock()
"""


@pytest.fixture(autouse=True)
def repository_root(monkeypatch, request):
    monkeypatch.chdir(request.config.rootpath)


@pytest.mark.parametrize("name", NAMES)
def test_the_sample_says_that_it_tells_nothing_of_the_claims(name):
    experiment = declared.read(f"configs/experiments/{name}.py")
    assert experiment.preset == "sample"
    assert "tells nothing of the paper's claims" in experiment.note
    assert len(experiment.seeds) * len(experiment.runs) * experiment.steps <= 200  # minutes


@pytest.mark.parametrize("name", NAMES)
def test_the_papers_scale_has_three_seeds_and_keeps_the_judging_cohorts_out(name):
    experiment = declared.read(f"configs/experiments/{name}.py:paper")
    assert experiment.seeds == (0, 1, 2)
    assert experiment.evaluate == "configs/evaluate.py:paper"
    assert experiment.batch_size == 512
    for run in experiment.runs:
        if "list:core57" in run.mix.get("cohorts", ("list:core57",)):
            assert len(run.mix["without"]) == 7


@pytest.mark.parametrize("preset", ["sample", "paper"])
@pytest.mark.parametrize("name", NAMES)
def test_what_the_paper_says_is_of_points_that_there_are(name, preset):
    """Only numbers of paper.md's section 4 are numbers; all else is called not recovered."""
    experiment = declared.read(f"configs/experiments/{name}.py:{preset}")
    values = {run.value for run in experiment.runs}
    if values == {None}:
        values = set(experiment.evaluate_overrides["fractions"])
    for claim in experiment.paper:
        assert claim.of[1] in values | {None}
        assert claim.minus is None or claim.minus[1] in values
        if claim.number != "not recovered":
            judged_by = experiment.evaluate_overrides["protocols"]
            few = experiment.evaluate_overrides["few_labels"]
            is_few = values >= {claim.of[1]} and isinstance(claim.of[1], float) and claim.of[1] < 1
            # A number that the preset's protocols do not give is said to be no point of it.
            named = claim.protocol in (None, *(few if is_few else judged_by))
            assert named or preset == "sample"
        known = ("not recovered", "69.3", "35.5", "> +2", "> +40")
        known += ("69.3 - 35.5 = +33.8", "77.0 - 55.7 = +21.3")
        assert claim.number in known
    assert any(claim.number == "not recovered" for claim in experiment.paper) or name == "labels"


def test_an_unknown_preset_names_those_there_are():
    with pytest.raises(InputError, match="no preset 'papr'.*sample, paper"):
        declared.read("configs/experiments/images.py:papr")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("del config.steps", "steps is missing or of another kind"),
        ("del config.question", "question is missing"),
        ("config.runs = []", "has no run"),
        ("config.runs = config.runs[:1] * 2", "two runs of one name"),
        ("config.runs[0]['name'] = 'a/b'", "no name for a folder"),
        ("config.runs[0]['colour'] = 1", "other keys than name, value, mix"),
        ("config.runs[0]['mix'].pop('size')", "its mix has no size"),
        ("config.runs[0]['mix']['sise'] = 3", "no setting 'sise' of a mix"),
        ("config.runs[0]['mix']['px'] = 'wide'", "run images_250, px: 'wide'"),
        ("config.pretrain_overrides = {'epoch': 3}", r"config\.epoch: no such key.*epochs"),
        ("config.evaluate_overrides = {'fraction': 3}", r"config\.fraction: no such key"),
        ("config.pretrain = 'configs/nothing.py'", "nothing.py: no such configuration"),
        ("config.pretrain = 'configs/linear_eval.py'", "not pretrain"),
        ("config.paper[0]['about'] = 1", "what the paper says has other keys"),
    ],
)
def test_a_mistake_in_an_experiment_is_one_line(change, message, request, tmp_path):
    # In a copy of the repository as far as it is read: main.py and the configurations beside it.
    for name in ("main.py", "configs", "data"):
        (tmp_path / name).symlink_to(request.config.rootpath / name)
    file = tmp_path / "mine.py"
    file.write_text(FILE.format(change=change))
    with pytest.raises(InputError, match=message) as caught:
        declared.read(str(file))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("file", ["configs/experiments/nothing.py", "configs/simclr.py"])
def test_what_is_no_experiment_is_refused(file):
    with pytest.raises(InputError, match="no such configuration|not experiment"):
        declared.read(file)
