"""How much memory this process may still take, by Linux and by the control groups it runs in."""

import re
from pathlib import Path

ROOT = Path("/")


def available(root: Path = ROOT) -> int | None:
    """Bytes that can be taken without swapping or being killed; None where nothing says so.

    Args:
      root: where `proc` and `sys` lie.
    """
    bounds = [_of_machine(root), *_of_groups(root)]
    return min((bound for bound in bounds if bound is not None), default=None)


def _of_machine(root: Path) -> int | None:
    found = re.search(r"^MemAvailable:\s+(\d+) kB", _text(root / "proc/meminfo"), re.M)
    return found and int(found[1]) * 1024


def _of_groups(root: Path) -> list[int]:
    """What is left below the limit of each group around this process (versions 1 and 2)."""
    left, groups = [], root / "sys/fs/cgroup"
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, name = line.split(":", 2)
        if controllers not in ("", "memory"):
            continue
        version_1 = controllers == "memory"
        top = groups / "memory" if version_1 else groups
        names = ("memory.limit_in_bytes", "memory.usage_in_bytes") if version_1 else ()
        limit_file, usage_file = names or ("memory.max", "memory.current")
        inner = top / name.lstrip("/")
        for folder in (inner, *inner.parents):
            limit, usage = _text(folder / limit_file).strip(), _text(folder / usage_file).strip()
            if limit.isdigit() and usage.isdigit():
                # Files that were read lie there too until somebody else needs the place.
                cached = re.search(r"^inactive_file (\d+)", _text(folder / "memory.stat"), re.M)
                left.append(int(limit) - int(usage) + (int(cached[1]) if cached else 0))
            if folder == top:
                break
    return left


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""
