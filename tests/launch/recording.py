"""A repository of one commit with the launchers in it, and programs that record their arguments."""

import os
import shlex
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
# NUL between arguments, two NULs between calls: an argument may hold anything else.
STUB = """#!/bin/bash
{ printf '%s\\0' "$(basename "$0")" "$@"; printf '\\0'; } >>"$CALLS"
"""


def committed(folder: Path) -> str:
    """Makes `folder` a repository of one commit, and names it."""
    # In a hook or `git rebase --exec`, GIT_DIR would lead to the repository of this code.
    environment = {name: text for name, text in os.environ.items() if not name.startswith("GIT_")}
    git = ["git", "-C", folder, "-c", "user.name=n", "-c", "user.email=e"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "m"]):
        subprocess.run([*git, *command], env=environment, check=True)
    head = [*git, "rev-parse", "--short=12", "HEAD"]
    return subprocess.check_output(head, env=environment, text=True).strip()


class Sandbox:
    """`launch/` in a repository of its own, a home, and a PATH whose first folder holds stubs."""

    def __init__(self, folder: Path, stubs: dict[str, str]):
        self.root, self.home, self.calls = folder / "repo", folder / "home", folder / "calls"
        self.stubs = folder / "stubs"
        shutil.copytree(ROOT / "launch", self.root / "launch")
        self.home.mkdir()
        self.stubs.mkdir()
        for name, body in stubs.items():
            (self.stubs / name).write_text(STUB + body)
            (self.stubs / name).chmod(0o755)
        # Python and pip are of no concern here: the program says what reached it.
        (self.root / "launch/local.sh").write_text(STUB + '. "$PROGRAM"\n')
        (folder / "program").write_text("exit 0\n")
        self.version = committed(self.root)
        self.environment = {
            "PATH": f"{self.stubs}:/usr/bin:/bin",
            "HOME": str(self.home),
            "CALLS": str(self.calls),
            "PROGRAM": str(folder / "program"),
        }

    def start(
        self, script: str, *args: str, process_group: int | None = None, **environment: str
    ) -> subprocess.Popen:
        return subprocess.Popen(
            ["bash", str(self.root / "launch" / script), *args],
            env=self.environment | environment,
            cwd="/",
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            process_group=process_group,
        )

    def run(
        self, script: str, *args: str, **environment: str
    ) -> tuple[int, list[list[str]], str, str]:
        """Exit code, the calls of stubs, stdout, stderr."""
        process = self.start(script, *args, **environment)
        stdout, stderr = process.communicate(timeout=60)
        return process.returncode, self.recorded(), stdout, stderr

    def recorded(self) -> list[list[str]]:
        """The calls since the last time."""
        text = self.calls.read_text() if self.calls.exists() else ""
        self.calls.unlink(missing_ok=True)
        return [call.split("\0") for call in text.split("\0\0")[:-1]]


def printed(stdout: str) -> list[list[str]]:
    """The commands of a dry run, as a shell would read them."""
    return [shlex.split(line) for line in stdout.splitlines()]


def option(call: list[str], name: str) -> str:
    """The value of `--name VALUE` or `--name=VALUE`, which must be there once."""
    values = [call[at + 1] for at, word in enumerate(call) if word == name]
    values += [word.partition("=")[2] for word in call if word.startswith(f"{name}=")]
    (value,) = values
    return value
