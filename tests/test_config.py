"""Cross-field checks, derived sizes, presets that differ in scale and places only."""

import pytest

from histo_simclr import config as configs
from histo_simclr import optimizer
from histo_simclr.errors import InputError
from histo_simclr.model import resnet
from histo_simclr.pretrain import train

MIX = "configs/resnet18_mix.py"
# What a preset may set: scale and places. Everything else is the method.
SCALE = {
    "batch_size",
    "epochs",
    "warmup_epochs",
    "note",
    "data.mix",
    "data.px",
    "views.px",
    "evaluation.records",
    "online.records",
    "online.patches",
    "online.mix_patches",
    "online.every",
}


@pytest.fixture(autouse=True)
def repository_root(monkeypatch, request):
    monkeypatch.chdir(request.config.rootpath)


@pytest.mark.parametrize("preset", ["sample", "overnight", "tenpercent", "full"])
def test_presets_differ_in_scale_and_places_only(preset):
    recipe = configs.load("configs/simclr.py").to_dict()
    other = configs.load(f"{MIX}:{preset}").to_dict()
    changed = {key for key, _, _ in configs.differing_keys(recipe, other)}
    assert {key for key in changed if not key.startswith("run.")} <= SCALE


@pytest.mark.parametrize("preset", ["slides", "sample"])
def test_adapting_differs_in_its_start_and_rate_besides(preset):
    recipe = configs.load("configs/simclr.py").to_dict()
    other = configs.load(f"configs/resnet18_adapt.py:{preset}").to_dict()
    changed = {key for key, _, _ in configs.differing_keys(recipe, other)}
    changed = {key for key in changed if not key.startswith("run.")}
    assert {"init_from", "optimizer.base_rate"} <= changed
    assert changed - {"init_from", "optimizer.base_rate"} <= SCALE
    assert other["optimizer"]["base_rate"] < recipe["optimizer"]["base_rate"]


def test_weights_to_start_from_count_by_their_digest_not_by_their_place():
    config = configs.load(f"{MIX}:sample")
    scratch = configs.identity(config, mix_digest="m")
    with config.unlocked():
        config.init_from = "/data/here"
    assert configs.identity(config, mix_digest="m") == scratch
    started = configs.identity(config, mix_digest="m", init_from="d")
    assert configs.differing_keys(scratch, started) == [("init_from", "absent", "d")]


def test_tenpercent_is_the_papers_scale():
    config = configs.load(f"{MIX}:tenpercent")
    assert (config.batch_size, config.epochs, config.views.px) == (512, 1000, 224)
    plan = configs.plan(config, 400_000)
    assert plan == configs.Plan(781, 781_000, 7_810, 781_000 * 512)


@pytest.mark.parametrize("arch", ["resnet34", "resnet50", "resnet101"])
def test_other_architectures_differ_from_resnet18_in_nothing_else(arch):
    base = configs.load(f"{MIX}:tenpercent").to_dict()
    other = configs.load(f"configs/{arch}_mix.py:tenpercent").to_dict()
    assert configs.differing_keys(base, other) == [("model.arch", "resnet18", arch)]


@pytest.mark.parametrize(
    ("given", "nearest"),
    [
        ("batch_sise", "batch_size"),
        ("views.gray_prob", "views.gray_probability"),
        ("model.archi", "model.arch"),
        ("zzz", "see the configuration"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest_name(given, nearest):
    config = configs.load(MIX)
    with pytest.raises(InputError, match=f"config.{given}: no such key; .*{nearest}"):
        configs.check_overrides(config, ["main.py", f"--config.{given}=3"])


def test_keys_that_there_are_may_be_set_whole_or_by_item():
    arguments = ["main.py", f"--config={MIX}", "--config.batch_size=8", "-config.views.mean[0]=0.4"]
    configs.check_overrides(configs.load(MIX), [*arguments, "--workdir=config.zzz"])
    checkpoint = ["--config.checkpoint=runs/x"]  # a placeholder: set by the user alone
    configs.check_overrides(configs.load("configs/linear_eval.py"), checkpoint)


def test_choices_are_those_that_there_are():
    flat = dict(configs._flatten(configs.load(MIX).to_dict()))
    for key, known in {
        "objective.name": tuple(train.OBJECTIVES),
        "compute.remat": resnet.REMAT,
        "model.arch": resnet.ARCHS,
        "optimizer.name": ("lars", "sgd", "adamw"),
        "optimizer.scaling": ("sqrt", "linear", "none"),
    }.items():
        with pytest.raises(InputError, match=f"not one of {', '.join(known)}"):
            configs._check_choices(flat | {key: "?"})
    for name in ("lars", "sgd", "adamw"):
        optimizer.make(name, rate=0.1, weight_decay=0.0, momentum=0.9)
    for scaling in ("sqrt", "linear", "none"):
        optimizer.scaled_rate(0.1, 8, scaling)


def test_an_unknown_preset_names_those_there_are():
    with pytest.raises(InputError, match="sample, overnight, tenpercent, full"):
        configs.load(f"{MIX}:tenpercnt")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("batch_size", 12, r"batch of 12 cannot be split over 8 devices.*--config\.batch_size=8"),
        ("data.px", 224, r"mix has 96 px patches, the config asks for 224.*data\.px=96"),
        ("objective.name", "ntxent", "'ntxent' is not one of nt_xent, dcl"),
        ("objective.temperature", 0.0, "must be above 0"),
        ("optimizer.scaling", "cubic", "not one of sqrt, linear, none"),
        ("views.gray_probability", 1.5, r"gray_probability: must be from 0 to 1, is 1\.5"),
        ("views.crop_scale", (0.5, 0.2), "two ascending numbers above 0 and at most 1"),
        ("run.log_every", 0, "must be above 0"),
        ("epochs", float("inf"), "epochs: must be finite and at most"),
        ("views.hue", float("nan"), "hue: must be finite"),
        ("seed", 2**40, "seed: must be finite and at most"),
        ("views.mean", ("a", "b", "c"), "mean: must be numbers"),
        ("views.brightness", -0.1, "must be 0 or more"),
        ("model.hidden", 0, "must be above 0"),
        ("model.arch", "resnet19", "'resnet19' is not one of resnet18, resnet34"),
        ("views.std", (0.5, 0.5, 0.0), "must be three numbers above 0"),
        ("seed", -1, "must be 0 or more"),
        ("warmup_epochs", -1.0, "warmup_epochs: must be 0 or more"),
        ("run.keep_every", -5, r"run\.keep_every: must be 0 or more"),
        ("online.every", 0, r"config\.online\.every: must be above 0, is 0"),
        ("online.patches", 0, r"config\.online\.patches: must be above 0"),
        ("online.mix_patches", -1, r"config\.online\.mix_patches: must be 0 or more"),
        ("online.neighbors", 0, r"config\.online\.neighbors: must be above 0"),
        ("online.strength", 0.0, r"config\.online\.strength: must be above 0"),
        ("online.holdout", 1.0, r"config\.online\.holdout: must be between 0 and 1, is 1"),
        ("online.seed", -1, r"config\.online\.seed: must be 0 or more"),
        ("compute.remat", "all", "'all' is not one of none, convolutions, blocks"),
        ("compute.microbatches", 3, r"no 3 equal parts.*choose a divisor of 8"),
        ("compute.microbatches", 0, r"compute\.microbatches: .*no 0 equal parts"),
        ("compute.similarity_rows", 48, r"48 rows at a time do not divide the 128 rows.*or 0"),
        ("compute.similarity_rows", 4, "a divisor of 128 that is a multiple of 8"),
        ("batch_size", 1, "batch of 1 has nothing to contrast.*batch_size=8 or more"),
    ],
)
def test_what_does_not_fit_together_is_refused_with_the_way_out(key, value, message):
    config = configs.load(MIX)
    config.update_from_flattened_dict({key: value})
    with pytest.raises(InputError, match=message):
        configs.check(config, devices=8, mix_px=96)


def test_odd_views_have_no_blocks_of_2_by_2():
    config = configs.load(MIX)
    config.compute.space_to_depth, config.views.px = True, 81
    with pytest.raises(InputError, match=r"views of 81 px .*an even --config\.views\.px"):
        configs.check(config, devices=8, mix_px=96)


def test_a_mix_smaller_than_a_batch_is_refused():
    with pytest.raises(InputError, match="holds 63 patches, fewer than one batch of 64"):
        configs.plan(configs.load(MIX), 63)


def test_warm_up_longer_than_the_run_is_refused():
    config = configs.load(MIX)
    config.warmup_epochs = config.epochs
    with pytest.raises(InputError, match="warm-up epochs do not fit"):
        configs.plan(config, 640)


def test_more_steps_than_can_be_counted_are_refused():
    config = configs.load(MIX)
    config.epochs = 1e9
    with pytest.raises(InputError, match=r"more than 2,147,483,647; set --config\.epochs="):
        configs.plan(config, 3161)


def test_identity_ignores_free_keys_and_where_the_mix_lies():
    first, second = configs.load(MIX), configs.load(MIX)
    second.run.log_every = 1
    second.data.mix = "elsewhere"
    second.evaluation.records = ()
    second.online.records = ""
    second.online.every = 7
    second.compute.remat, second.compute.similarity_rows = "blocks", 8
    assert configs.identity(first, mix_digest="d") == configs.identity(second, mix_digest="d")
    assert configs.differing_keys(
        configs.identity(first, mix_digest="d"), configs.identity(first, mix_digest="e")
    ) == [("mix_digest", "d", "e")]
