"""embed.sbatch against a local.sh that records what it was asked."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from histo_simclr import cli

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "launch/embed.sbatch"
WHAT = ("/slides", "--checkpoint", "/run", "--out", "/features", "--regions", "/a b")


@pytest.fixture
def submit(tmp_path):
    """submit(*arguments, **environment): exit code, what the command got, stdout, stderr."""
    # As Slurm does: a copy elsewhere, in a folder that is not the repository's.
    (tmp_path / "spool").mkdir()
    script = tmp_path / "spool/slurm_script"
    script.write_bytes(SCRIPT.read_bytes())
    (tmp_path / "repository/launch").mkdir(parents=True)
    shutil.copy(ROOT / "launch/steps.sh", tmp_path / "repository/launch")
    stub = 'printf \'%s\\0\' "$@" >"$CALLS"\n'
    (tmp_path / "repository/launch/local.sh").write_text(stub)

    def run(*arguments, **environment):
        calls = tmp_path / "calls"
        calls.unlink(missing_ok=True)
        known = {"PATH": "/usr/bin:/bin", "CALLS": str(calls), "SLURM_ARRAY_TASK_ID": "4"}
        known |= {"SLURM_SUBMIT_DIR": str(tmp_path / "repository"), "SLURM_JOB_ID": "7"}
        done = subprocess.run(
            ["bash", script, *arguments],
            env=known | environment,
            cwd="/",
            capture_output=True,
            text=True,
        )
        found = calls.read_text().split("\0")[:-1] if calls.exists() else None
        return done.returncode, found, done.stdout, done.stderr

    return run


def parsed(call):
    """The arguments of histo-simclr in a call of local.sh, parsed as the command does."""
    assert call[:2] == ["-m", "histo_simclr"]
    return cli.parser().parse_args(call[2:])


def test_a_task_gives_the_command_what_was_submitted(submit):
    code, call, _, err = submit(*WHAT)
    assert (code, err) == (0, "")
    args = parsed(call)
    assert (args.slides, args.checkpoint, str(args.out)) == (["/slides"], "/run", "/features")
    assert (str(args.regions), args.share) == ("/a b", "")


def test_an_array_with_gaps_says_its_shares(submit):
    assert parsed(submit(*WHAT, SHARES="8")[1]).share == "5/8"


def test_the_repository_may_be_named(submit, tmp_path):
    told = {"SLURM_SUBMIT_DIR": "/", "HISTO_SIMCLR_ROOT": str(tmp_path / "repository")}
    assert parsed(submit(*WHAT, **told)[1]).slides == ["/slides"]


def test_a_dry_run_prints_and_runs_nothing(submit):
    code, call, out, err = submit(*WHAT, DRY_RUN="1", SLURM_JOB_ID="")
    assert (code, call, err) == (0, None, "")
    _, _, *command = shlex.split(out)  # bash local.sh
    assert parsed(command).slides == ["/slides"]


@pytest.mark.parametrize(
    ("arguments", "environment", "said"),
    [
        (WHAT, {"SLURM_SUBMIT_DIR": "/"}, "no repository in '/': submit from its root"),
        ((), {}, "nothing to embed; give what histo-simclr embed takes"),
        (WHAT, {"SLURM_JOB_ID": ""}, "not in a job: sbatch launch/embed.sbatch"),
        (WHAT, {"SHARES": "many"}, "SHARES is 'many'"),
        (WHAT, {"SHARES": "4"}, "task 4 of SHARES=4: with SHARES, arrays count from 0"),
        (WHAT, {"SHARES": "4", "SLURM_ARRAY_TASK_ID": ""}, "SHARES without an array"),
    ],
)
def test_what_is_missing_is_one_line(submit, arguments, environment, said):
    code, call, _, err = submit(*arguments, **environment)
    assert (code, call) == (2, None)
    assert err.startswith(f"embed.sbatch: {said}")
    assert err.count("\n") == 1


def test_slurm_sees_its_directives_before_any_command():
    lines = SCRIPT.read_text().splitlines()
    commands = [n for n, line in enumerate(lines) if line and not line.startswith("#")]
    directives = [n for n, line in enumerate(lines) if line.startswith("#SBATCH ")]
    assert max(directives) < min(commands)
    for number in directives:
        assert re.fullmatch(r"#SBATCH --[a-z-]+(=\S+)?", lines[number])
