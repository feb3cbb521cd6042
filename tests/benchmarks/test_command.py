"""The bench command at small sizes: its lines, its JSON, and the cost against a count by hand."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from histo_simclr import cli
from histo_simclr import config as configs
from histo_simclr import mesh as meshes
from histo_simclr.benchmarks import command, programs, rooflines, saving
from histo_simclr.errors import InputError

ROOT = Path(__file__).parents[2]
SAMPLE = f"--mix={ROOT / 'data/sample/mix'}"
SMALL = ("--px=96", "--batch=8")
# What the comparison with another program reads (issue 3: ratios in one alternating run).
COMPARED = {"images_per_s", "step_ms_min", "cpu_ms_per_image", "batch", "mode", "size", "device"}


def conv_flops(px: int, *, only_pixels: bool) -> int:
    """FLOPs of ResNet-18's convolutions on two views of px, forward and backward.

    Written down from table 1 of arXiv 1512.03385: (side of the input, in, out, kernel, stride,
    how many). only_pixels leaves out the taps on the border of zeros, as XLA does.
    """
    quarter, eighth, sixteenth, last = (-(-px // part) for part in (4, 8, 16, 32))
    layers = [
        (px, 3, 64, 7, 2, 1),
        (quarter, 64, 64, 3, 1, 4),
        (quarter, 64, 128, 3, 2, 1),
        (quarter, 64, 128, 1, 2, 1),
        (eighth, 128, 128, 3, 1, 3),
        (eighth, 128, 256, 3, 2, 1),
        (eighth, 128, 256, 1, 2, 1),
        (sixteenth, 256, 256, 3, 1, 3),
        (sixteenth, 256, 512, 3, 2, 1),
        (sixteenth, 256, 512, 1, 2, 1),
        (last, 512, 512, 3, 1, 3),
    ]
    total = 0
    for side, fan_in, out, kernel, stride, times in layers:
        # Pixels under the kernel at each place: a row of ones, blurred by a row of ones.
        row = np.ones(side if only_pixels else side + 2 * (kernel // 2), int)
        border = kernel // 2 if only_pixels else 0
        under = np.convolve(np.pad(row, border), np.ones(kernel, int), "valid")[::stride]
        passes = 2 if fan_in == 3 else 3  # no gradient of the pictures themselves
        total += 2 * 2 * passes * int(under.sum()) ** 2 * fan_in * out * times
    return total


@pytest.fixture
def one_device(monkeypatch):
    """Programs that several cases share through the compile cache, where `cost` has one device."""
    make = meshes.make
    monkeypatch.setattr(command.meshes, "make", lambda devices=None: make(1))


def printed(capsys, *arguments: str) -> dict:
    """What `histo-simclr bench` writes as JSON, after a line for people."""
    assert cli.main(["bench", *arguments, "--json"]) == 0
    *lines, last = capsys.readouterr().out.splitlines()
    assert f"{arguments[0]}, resnet18, 96 px, batch 8" in lines[0]
    return json.loads(last)


def is_sane(result: dict) -> bool:
    mean_ms = 1e3 * result["batch"] / result["images_per_s_mean"]
    # Reading ahead makes bursts: then single steps may be as short as they like.
    shortest = 0 if result["mode"] == "input" else mean_ms / 3
    # CPU time of all cores, so it may be more than the clock's; a step is never free.
    return (
        result.keys() >= COMPARED
        and 0 < result["step_ms_min"] <= result["step_ms_median"]
        and shortest < result["step_ms_median"] < 3 * mean_ms
        and result["cpu_ms_per_image"] > 0
        and result["first_step_s"] > result["compile_s"] > 0
        and result["compilations"] == 0
        and 50 < result["peak_rss_mib"] < 50_000
    )


@pytest.mark.usefixtures("one_device")
def test_views_are_timed_and_traced(capsys, tmp_path, traced):
    arguments = (*SMALL, "--steps=3", "--warmup=1", f"--profile={tmp_path / 'trace'}")
    result = printed(capsys, "views", *arguments)
    assert is_sane(result)
    assert (result["steps"], result["batch"], result["size"]) == (3, 8, 96)
    assert result["chip"] is result["bandwidth_share_counted"] is None  # of no CPU
    assert traced(result) == 5


@pytest.mark.usefixtures("one_device")
def test_the_first_step_s_time_holds_the_start_of_the_backend(monkeypatch):
    times, backend = [], jax.default_backend

    def started():  # whether the precision is bfloat16 is the first question to the devices
        times.append(time.perf_counter())
        return backend()

    def stepped(config, mesh, args, *, since):
        times.append(since)
        raise InputError("is enough", where="the test", way_out="compare the times")

    monkeypatch.setattr(jax, "default_backend", started)
    monkeypatch.setattr(command.cases, "views", stepped)
    assert cli.main(["bench", "views", *SMALL]) == 2
    assert times[-1] < times[0]


@pytest.mark.usefixtures("one_device")
def test_input_is_timed_from_records_to_views(capsys):
    arguments = (SAMPLE, *SMALL, "--steps=4", "--warmup=2", "--set=run.prefetch=3")
    result = printed(capsys, "input", *arguments)
    assert is_sane(result)
    assert result["images_per_s"] == result["images_per_s_mean"]  # not that of a burst
    assert result["prefetch"] == 3
    assert not result["cache_decoded"]
    # Of its program, the views: each of two is written once at least, in float32.
    assert result["bytes_per_image"] > 2 * 96 * 96 * 3 * 4
    assert result["flops_per_image"] > 0


@pytest.mark.usefixtures("one_device")
def test_end_to_end_tells_what_input_and_saving_cost(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(saving, "ROUNDS", 1)
    changed = ("run.checkpoint_every=100", "run.cache_decoded=True", "run.prefetch=1")
    arguments = (SAMPLE, *SMALL, "--steps=2", "--warmup=1", *(f"--set={each}" for each in changed))
    result = printed(capsys, "end-to-end", *arguments, "--save-every=1", f"--save-in={tmp_path}")
    assert is_sane(result)
    assert not list(tmp_path.iterdir())
    assert result["loss_first"] == pytest.approx(np.log(2 * 8 - 1), abs=0.5)
    # Out of memory a batch is there long before a CPU has done a step.
    assert result["wait_fraction"] < 0.2
    assert 0 < result["transfer_ms"] < 0.5 * result["resident_step_ms_median"]
    assert 0.2 < result["share_of_resident"] < 5
    assert 0 < result["save_blocked_ms"] < result["save_round_ms"] < 1.2 * result["save_written_ms"]
    assert result["images_per_s"] == result["images_per_s_mean"]


@pytest.mark.parametrize(("written", "within"), [(1050, True), (1500, False)])
def test_what_a_save_costs_is_what_its_round_takes_longer(written, within):
    config = configs.load(str(ROOT / "configs/simclr.py"))
    config.run.checkpoint_every = 500
    # ms a round of 10 steps: 1000 without a save; with one 1060, 20 of them blocked.
    plain, beside, blocked = ([1000.0, 990, 1010], [1060.0, 1050, 1070], [20.0, 10, 30])
    columns = map(np.array, (plain, beside, blocked, [float(written)] * 3))
    found, rows = saving._found(config, 10, *columns)
    assert found["save_blocked_ms"] == 20
    assert found["save_cost_ms"] == 60
    assert found["save_share"] == pytest.approx(0.06)
    assert found["save_slowdown"] == pytest.approx(1.04, abs=1e-3)
    assert found["save_share_of_run"] == pytest.approx(60 / (500 * 100))
    assert ("NOT within" in " ".join(map(" ".join, rows))) != within


@pytest.mark.usefixtures("one_device")
def test_the_step_on_ready_views_starts_at_chance_and_moves(capsys):
    arguments = (*SMALL, "--steps=3", "--warmup=1", "--ready-views")
    result = printed(capsys, "step", *arguments)
    assert is_sane(result)
    assert result["views"] == "ready"
    # Noise has nothing to tell its pairs by: about the loss of a guess.
    assert result["loss_first"] == pytest.approx(np.log(2 * 8 - 1), abs=0.5)
    assert result["loss_last"] != result["loss_first"]  # parameters moved


@pytest.mark.usefixtures("one_device")
@pytest.mark.parametrize(
    ("case", "program"), [("step", "training"), ("cost", "steps_of"), ("views", "views")]
)
@pytest.mark.parametrize(("arguments", "sides"), [([], (96, 80)), (["--px=64"], (64, 64))])
def test_made_up_patches_are_as_large_as_a_run_s(case, program, arguments, sides, monkeypatch):
    asked = []

    def made(config, mesh, px, **_):
        asked.append((px, config.views.px))
        raise InputError("is enough", where="the test", way_out="compare the sizes")

    monkeypatch.setattr(programs, program, made)
    recipe = f"--config={ROOT / 'configs/resnet18_mix.py'}"
    assert cli.main(["bench", case, recipe, *arguments]) == 2
    assert asked == [sides]


@pytest.mark.usefixtures("one_device")
def test_extraction_is_timed_beside_the_encoder_alone(capsys, tmp_path, traced):
    # The encoder computes in float32 whatever the configuration says.
    arguments = (SAMPLE, *SMALL, "--steps=2", "--warmup=1", "--set=precision=bfloat16")
    result = printed(capsys, "extract", *arguments, f"--profile={tmp_path}")
    assert traced(result) == 1
    assert result["images_per_s"] > 0
    assert result["amp"] == "off"
    assert "optimizer" not in result
    assert result["compilations"] == 0
    # One view and pass of the step's two and three (of the stem two, which is 4 % of it).
    expected = conv_flops(96, only_pixels=True) / 6
    assert result["flops_per_image"] == pytest.approx(expected, rel=0.1)
    # Reading is extra work: beyond the noise of a busy machine it makes nothing faster.
    assert 0.05 < result["share_of_forward"] < 3
    assert result["compile_s"] > 0


@pytest.mark.usefixtures("one_device")
def test_cost_agrees_with_a_count_by_hand(capsys):
    result = printed(capsys, "cost", *SMALL)
    ready, whole = result["ready"], result["whole"]
    expected = conv_flops(96, only_pixels=True)
    assert ready["flops_per_image"] == pytest.approx(expected, rel=0.03)
    assert 0 < result["views_share_flops"] < 0.05  # by hand: 2.5 % at 224 px with products
    assert 0 < result["views_share_bytes"] < 0.2
    # Everything is read or written at least once: the views in float32, at the very least.
    assert whole["bytes_per_image"] > ready["bytes_per_image"] > 2 * 96 * 96 * 3 * 4
    assert whole["temp_mib"] > 0


@pytest.mark.parametrize("px", [224, 96, 80, 72])
def test_the_stated_count_is_that_of_the_layers(px):
    stated = rooflines.by_hand("resnet18", px, "float32").flops
    assert stated == conv_flops(px, only_pixels=False)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["step", "--px=96", "--batch=12"], "config.batch_size"),  # 8 devices
        (["views", "--px=-1"], "config.views.px"),
        (["views", "--steps=0"], "--steps: too few"),
        (["end-to-end", SAMPLE, "--save-every=0"], "--save-every: too few"),
        (["views", "--set=precision=float31"], "config.precision: 'float31' is not one of"),
        (["views", "--set=run.prefetsh=3"], "--set run.prefetsh: no such key; use --set run.pref"),
        (["views", "--set=run.prefetch=many"], "--set run.prefetch: "),
        (["views", "--set=run.prefetch"], "give KEY=VALUE"),
        (["views", "--set=run.prefetch=0"], "config.run.prefetch"),
        (["end-to-end", SAMPLE, "--save-in=."], "--save-in: nothing is saved; give --save-every"),
        (["probe", "--folds=1"], "--folds"),
        (["probe", "--queries=0"], "--queries"),
        (
            ["probe", "--examples=10", "--dimensions=2", "--classes=9", "--folds=2"],
            "--examples: 10 are too few for all 9 classes",
        ),
        (["extract", "--mix=nowhere"], "nowhere"),
        (["input", "--mix=nowhere", "--px=96", "--batch=8"], "nowhere"),
    ],
)
def test_bad_arguments_are_named_in_one_line(arguments, named, capsys):
    assert cli.main(["bench", *arguments]) == 2
    assert named in capsys.readouterr().err


@pytest.mark.parametrize("case", ["views", "probe"])
def test_a_folder_for_traces_is_tried_before_anything_is_timed(case, monkeypatch, tmp_path, capsys):
    def timed(*_, **__):
        raise AssertionError("timed")

    monkeypatch.setattr(command, "_case", timed)
    monkeypatch.setattr(command.probe, "clocked", timed)
    (tmp_path / "file").touch()
    assert cli.main(["bench", case, f"--profile={tmp_path / 'file' / 'trace'}"]) == 2
    assert "--profile" in capsys.readouterr().err
    with pytest.raises(AssertionError, match="timed"):
        cli.main(["bench", case, f"--profile={tmp_path / 'new' / 'trace'}"])


@pytest.mark.usefixtures("one_device")
def test_a_folder_for_checkpoints_is_tried_before_anything_is_timed(monkeypatch, capsys):
    def made(*_, **__):
        raise AssertionError("compiled")

    monkeypatch.setattr(programs, "training", made)
    arguments = (SAMPLE, *SMALL, "--save-every=1", "--save-in=nowhere")
    assert cli.main(["bench", "end-to-end", *arguments]) == 2
    assert "--save-in nowhere: cannot be written" in capsys.readouterr().err


@pytest.mark.parametrize(("case", "lever"), [("views", "--batch"), ("probe", "--examples")])
def test_out_of_memory_names_what_the_case_has(case, lever, monkeypatch, capsys):
    def hungry(*_, **__):
        raise MemoryError("all of it")

    monkeypatch.setattr(command, "_case", hungry)
    monkeypatch.setattr(command.probe, "clocked", hungry)
    assert cli.main(["bench", case]) == 2
    assert lever in capsys.readouterr().err


def test_only_records_need_tensorflow():
    """As where it is not installed, nor what would load it."""
    program = """
from importlib.machinery import PathFinder

ABSENT, find = ("tensorflow", "tensorflow_datasets", "clu", "tensorboard"), PathFinder.find_spec
PathFinder.find_spec = staticmethod(
    lambda name, *rest: None if name.split(".")[0] in ABSENT else find(name, *rest)
)
import jax
from histo_simclr import cli, mesh

# One device of eight: programs that other tests have compiled.
jax.config.update("jax_num_cpu_devices", 8)
make = mesh.make
mesh.make = lambda devices=None: make(1)
timed = ["--px=96", "--batch=8", "--steps=1", "--warmup=1"]
for name in ABSENT:
    try:
        __import__(name)
    except ImportError:
        continue
    raise AssertionError(name)
for case in (["views", *timed], ["step", *timed], ["cost", *timed[:2]]):
    assert cli.main(["bench", *case]) == 0
for case in ("input", "end-to-end", "extract"):
    assert cli.main(["bench", case, "--mix=data/sample/mix"]) == 2
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    heads = [line.split(",")[0] for line in done.stdout.splitlines() if "resnet18" in line]
    assert heads == ["views", "step", "cost"]
    for case in ("input", "end-to-end", "extract"):
        assert f"error: bench {case}: TensorFlow is not installed" in done.stderr
