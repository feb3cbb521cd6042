"""Commands that parse, pieces that are shared, and equally many steps for all."""

import ast
import shlex
from pathlib import Path

import pytest

from histo_simclr import cli
from histo_simclr import config as configs
from histo_simclr.errors import InputError
from histo_simclr.experiment import declared, plan
from histo_simclr.prepare import cohort_choice, recipe, relatives
from histo_simclr.suite import program

NAMES = ("images", "cohorts", "resolutions", "organs", "labels")
PLACES = plan.Places(Path("out"), ("data/records",), "", False)


@pytest.fixture(autouse=True)
def repository_root(monkeypatch, request):
    monkeypatch.chdir(request.config.rootpath)


@pytest.mark.parametrize("preset", ["sample", "paper"])
@pytest.mark.parametrize("name", NAMES)
def test_every_command_is_one_that_its_program_takes(name, preset):
    experiment = declared.read(f"configs/experiments/{name}.py:{preset}")
    places = PLACES._replace(data="data/labelled", skip_missing=True)
    planned = plan.make(experiment, places)
    for piece in planned.mixes:
        assert piece.arguments[:3] == ("-m", "histo_simclr", "mix")
        args = cli.parser("mix").parse_args(piece.arguments[2:])
        assert args.records == ["data/records"]
        assert args.out == Path("out/mixes") / piece.name
        assert "recipe" not in args or args.recipe.is_file()
    for piece in (*planned.pretrainings, planned.evaluation):
        config = configs.load(piece.arguments[1].removeprefix("--config="))
        configs.check_overrides(config, piece.arguments)
        for key, value in _given(piece).items():
            kind = type(_leaf(config, key))
            if kind is tuple:
                assert value.startswith("("), key
            elif kind in (int, float, bool):
                kind(value)
    evaluation = configs.load(planned.evaluation.arguments[1].removeprefix("--config="))
    with evaluation.unlocked():
        for key, value in _given(planned.evaluation).items():
            # As the flags do: of a text as it is, of all else the literal.
            is_text = isinstance(_leaf(evaluation, key), str)
            value = value if is_text else ast.literal_eval(value)
            evaluation.update_from_flattened_dict({key: value})
    program.check(evaluation)
    tasks = [name for name in evaluation.choose.split(",") if name]
    assert set(tasks) <= set(evaluation.tasks)


@pytest.mark.parametrize("preset", ["sample", "paper"])
@pytest.mark.parametrize("name", NAMES)
def test_all_pretrainings_of_an_experiment_take_equally_many_steps(name, preset):
    experiment = declared.read(f"configs/experiments/{name}.py:{preset}")
    sizes = {run.name: run.mix["size"] for run in experiment.runs}
    planned = plan.make(experiment, PLACES)
    scale = configs.load(experiment.pretrain)
    warmups = set()
    for piece in planned.pretrainings:
        config = scale.copy_and_resolve_references()
        given = _given(piece)
        config.epochs, config.warmup_epochs = float(given["epochs"]), float(given["warmup_epochs"])
        steps = configs.plan(config, sizes[piece.name.rpartition("_seed")[0]])
        assert steps.total_steps == experiment.steps
        warmups.add(steps.warmup_steps)
    assert len(warmups) == 1


@pytest.mark.parametrize("name", NAMES)
def test_cohorts_of_the_papers_scale_are_in_the_registry_and_hold_none_that_judges(name):
    experiment = declared.read(f"configs/experiments/{name}.py:paper")
    registered = relatives.known().cohorts
    judging = {"BACH", "Lymph", "BreakHis", "NCT-CRC-HE-100K", "Gleason2019"}
    for run in experiment.runs:
        given = {key: value for key, value in run.mix.items() if key != "recipe"}
        settings, where = recipe.settle(given, recipe.read(Path(run.mix["recipe"])))
        named = cohort_choice.named(settings["cohorts"], registered, where["cohorts"])
        left_out = cohort_choice.named(settings["without"], registered, where["without"])
        assert {*left_out} <= {*named}  # else the mix would refuse it
        assert not judging & ({*named} - {*left_out})
        assert (settings["cohort_count"] or 1) <= len({*named} - {*left_out})


def test_labels_need_one_pretraining_a_seed():
    planned = plan.make(declared.read("configs/experiments/labels.py:paper"), PLACES)
    assert len(planned.mixes) == len(planned.pretrainings) == 3
    assert "fractions=(0.01, 0.05, 0.1, 0.25, 0.5, 1.0)" in shlex.join(planned.evaluation.arguments)


def test_runs_of_one_mix_share_it_and_equal_runs_their_pretraining(experiment):
    first, second = experiment.runs
    twin = declared.Run("twin", 30, first.mix)
    planned = plan.make(experiment._replace(runs=(first, second, twin), seeds=(0,)), PLACES)
    assert [piece.name for piece in planned.mixes] == ["n10_seed0", "n20_seed0"]
    assert [piece.name for piece in planned.pretrainings] == ["n10_seed0", "n20_seed0"]
    assert planned.encoders["twin", 0] == planned.encoders["n10", 0] == "n10_seed0"


def test_one_evaluation_judges_all_runs(experiment):
    evaluation = plan.make(experiment, PLACES).evaluation
    (checkpoints,) = (a for a in evaluation.arguments if a.startswith("--config.checkpoints="))
    assert checkpoints.count("=out/runs/") == 4
    assert "n20_seed1=out/runs/n20_seed1" in checkpoints


def test_seeds_reach_the_mix_and_the_pretraining(experiment):
    planned = plan.make(experiment, PLACES)
    for piece in planned.mixes:
        assert f"--seed {piece.name[-1]} " in shlex.join(piece.arguments)
    for piece in planned.pretrainings:
        assert f"--config.seed={piece.name[-1]}" in piece.arguments


@pytest.mark.parametrize(
    ("places", "message"),
    [
        (PLACES._replace(records=()), "--records.*give --records DIR"),
        (PLACES._replace(out=Path("a,b")), "comma or ="),
    ],
)
def test_places_that_cannot_be_used_are_refused(experiment, places, message):
    with pytest.raises(InputError, match=message):
        plan.make(experiment, places)


def test_a_mix_smaller_than_a_batch_is_refused(experiment):
    small = declared.Run("small", 4, {"size": 4})
    with pytest.raises(InputError, match="run small: 4 patches, fewer than a batch of 5"):
        plan.make(experiment._replace(runs=(small,)), PLACES)


def _given(piece):
    pairs = (a.removeprefix("--config.").partition("=") for a in piece.arguments)
    return {key: value for key, _, value in pairs if not key.startswith("-") and key != "main.py"}


def _leaf(config, key):
    for part in key.split("."):
        config = config[part]
    return config
