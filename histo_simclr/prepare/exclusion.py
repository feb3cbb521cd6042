"""A list of cohorts, patients and slides that a mix must not draw from."""

import csv
import difflib
import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow
import pyarrow.compute

from histo_simclr.errors import InputError
from histo_simclr.prepare.registry import folded

KINDS = ("cohort", "patient", "slide")


class Entry(NamedTuple):
    """One line of a list: what kind of thing, its name, and the cohort (empty: any)."""

    kind: str
    name: str
    cohort: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}" + (f" of {self.cohort}" if self.cohort else "")


class Exclusions:
    """The entries of a list, and which of them were met in the record sets.

    Args:
      entries: what to leave out.
      path: the file they come from, for messages.
      sha256: of that file.
      identity: what all names of one cohort have in common.
    """

    def __init__(
        self,
        entries: Iterable[Entry] = (),
        path: Path = Path(),
        sha256: str = "",
        identity: Callable[[str], str] = folded,
    ):
        self.entries, self.path, self.sha256 = tuple(entries), path, sha256
        self._identity = identity
        self._met: set[Entry] = set()
        self._seen: dict[str, set[str]] = {kind: set() for kind in KINDS}

    def mark(self, table: pyarrow.Table, cohort: str) -> np.ndarray:
        """(n,) bool: which rows of one cohort are to be left out.

        Args:
          table: columns slide and patient of n rows.
          cohort: as the record set names it; cohorts are compared by identity.
        """
        marked = np.zeros(len(table), bool)
        here = [
            each
            for each in self.entries
            if not each.cohort or self._identity(each.cohort) == self._identity(cohort)
        ]
        self._seen["cohort"].add(cohort)
        for each in here:
            if each.kind == "cohort" and self._identity(each.name) == self._identity(cohort):
                self._met.add(each)
                marked[:] = True
        for kind in ("patient", "slide"):
            wanted = [each.name for each in here if each.kind == kind]
            if wanted:
                names = set(pyarrow.compute.unique(table[kind]).to_pylist())
                self._seen[kind] |= names
                self._met |= {each for each in here if each.kind == kind and each.name in names}
                value_set = pyarrow.array(wanted, pyarrow.string())
                marked |= pyarrow.compute.is_in(table[kind], value_set=value_set).to_numpy()
        return marked

    def unmet(self) -> list[str]:
        """Entries that no record set held so far, in the order of the list."""
        return [str(each) for each in self.entries if each not in self._met]

    def refuse_unmet(self) -> None:
        """InputError if an entry was met nowhere: a misspelt one would let through its rows."""
        missed = [each for each in self.entries if each not in self._met]
        if missed:
            known = sorted(self._seen[missed[0].kind])
            near = difflib.get_close_matches(missed[0].name, known, 1)
            hint = f"did you mean {near[0]}? Mend" if near else "mend"
            raise InputError(
                f"{len(missed)} of {len(self.entries)} entries are in none of the record sets, "
                f"e.g. {missed[0]}",
                where=self.path,
                way_out=f"{hint} the names, or pass over them by --allow-unmatched",
            )


def read(path: Path, identity: Callable[[str], str] = folded) -> Exclusions:
    """Reads a UTF-8 CSV with the columns kind (cohort | patient | slide), name, optional cohort.

    Other columns, such as a reason, are passed over.

    Args:
      path: the file.
      identity: what all names of one cohort have in common.

    Raises:
      InputError: no readable CSV, a column or cell missing, or another kind; names the line.
    """
    try:
        content = path.read_bytes()
        reader = csv.DictReader(content.decode("utf-8-sig").splitlines(), strict=True)
        absent = {"kind", "name"} - set(reader.fieldnames or [])
        lines = [] if absent else [(reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(
            f"not a readable CSV ({error})", where=path, way_out="save it as UTF-8 CSV"
        ) from error
    if absent or not lines:
        what = f"no column {', '.join(sorted(absent))}" if absent else "no rows"
        way_out = "write kind,name[,cohort] in the first line and one exclusion a line below"
        raise InputError(what, where=path, way_out=way_out)
    entries = [_entry(row, f"{path}:{line}") for line, row in lines]
    sha256 = hashlib.sha256(content).hexdigest()
    return Exclusions(dict.fromkeys(entries), path, sha256, identity)


def _entry(row: dict[str, str | None], where: str) -> Entry:
    kind, name, cohort = ((row.get(column) or "").strip() for column in ("kind", "name", "cohort"))
    if kind not in KINDS:
        raise InputError(f"kind {kind!r}", where=where, way_out=f"one of {', '.join(KINDS)}")
    if not name:
        raise InputError(f"{kind} without a name", where=where, way_out="fill it or delete it")
    return Entry(kind, name, "" if kind == "cohort" else cohort)
