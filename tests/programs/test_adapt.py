"""A run that starts from weights: judged as it starts, recorded, resumed without its source."""

import json
import shutil
import time

import pytest

from histo_simclr import checkpoint, checkpoint_items

pytestmark = pytest.mark.slow

ONLINE = (
    "--config.online.records=data/sample/records/pcam",
    "--config.online.patches=40",
    "--config.online.mix_patches=0",
    "--config.online.every=2",
)


def lines_of(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def leaves_of(workdir, step):
    """Checksums of every leaf, as a checkpoint stores them itself."""
    return checkpoint_items.read_metadata(workdir / "checkpoints" / str(step))["leaves"]


@pytest.fixture(scope="module")
def source(program, pretrain_arguments, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("source") / "general"
    extra = (*ONLINE, "--config.optimizer.base_rate=0.3")
    done = program.run(*pretrain_arguments(workdir, steps=2, extra=extra))
    assert done.returncode == 0, done.stderr
    return workdir


@pytest.fixture(scope="module")
def arguments(pretrain_arguments):
    def of(workdir, source):
        return pretrain_arguments(
            workdir, steps=6, extra=(*ONLINE, f"--config.init_from={source}", "--config.seed=3")
        )

    return of


@pytest.fixture(scope="module")
def adapted(program, arguments, source, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("adapted")
    done = program.run(*arguments(workdir, source))
    assert done.returncode == 0, done.stderr
    return workdir, done


def test_the_first_line_is_what_the_weights_answer_before_any_step(adapted, source):
    workdir, done = adapted
    first, *rest = lines_of(workdir)
    assert first["step"] == 0
    assert [line["step"] for line in rest] == [2, 4, 6]
    # Another seed: the same weights, asked by the same question, give the source's last answers.
    last = lines_of(source)[-1]
    for name in ("online_knn", "online_probe"):
        assert first[name] == last[name]
    assert first["online_knn_untrained"] == rest[-1]["online_knn_untrained"]
    assert "start     from general, step 2: encoder and head" in done.stdout
    assert "step 0/6 (as it starts)  kNN" in done.stderr


def test_the_checkpoint_says_what_it_started_from(adapted, source):
    provenance = checkpoint.read_provenance(checkpoint.resolve(adapted[0]))
    record = provenance.origin["init_from"]
    assert (record["name"], record["step"], record["taken"]) == ("general", 2, ["encoder", "head"])
    assert record["digest"] == checkpoint.digest(checkpoint.resolve(source))
    before = provenance.lineage()[1]
    assert (
        before.mix["digest"] == checkpoint.read_provenance(checkpoint.resolve(source)).mix["digest"]
    )


def test_stopped_and_resumed_without_its_source_it_gives_the_bits_of_an_undisturbed_run(
    program, arguments, adapted, source, tmp_path
):
    workdir, gone = tmp_path / "run", shutil.copytree(source, tmp_path / "general")
    process = program.start(*arguments(workdir, gone))
    while not (workdir / "checkpoints/2").is_dir():
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.kill()
    process.communicate()
    shutil.rmtree(gone)
    resumed = program.run(*arguments(workdir, gone))
    assert resumed.returncode == 0, resumed.stderr
    assert "resumed from step 2" in resumed.stdout
    assert leaves_of(workdir, 6) == leaves_of(adapted[0], 6)
    assert [line["step"] for line in lines_of(workdir)] == [0, 2, 4, 6]
    other = program.run(*arguments(workdir, adapted[0]))
    assert other.returncode == 2
    assert "workdir belongs to another configuration: init_from was" in other.stderr


def test_weights_that_expect_other_pixels_are_refused_before_anything_is_made(
    program, arguments, source, tmp_path
):
    place = tmp_path / "run"
    done = program.run(*arguments(place, source), "--config.views.mean=(0.7,0.5,0.7)")
    assert done.returncode == 2
    (line,) = [each for each in done.stderr.splitlines() if each.startswith("error: ")]
    assert "weights expect pixels by mean (0.5, 0.5, 0.5)" in line
    assert "the configuration gives mean (0.7, 0.5, 0.7)" in line
    assert not place.exists()


def test_where_nothing_is_asked_there_is_no_line_before_the_first_step(
    program, pretrain_arguments, source, tmp_path
):
    extra = (f"--config.init_from={source}",)
    done = program.run(*pretrain_arguments(tmp_path, steps=2, extra=extra))
    assert done.returncode == 0, done.stderr
    assert [line["step"] for line in lines_of(tmp_path)] == [2]
    assert "as it starts" not in done.stderr
