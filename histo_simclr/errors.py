"""The one error that a user can mend; everything else is a defect and keeps its traceback."""

import functools
from collections.abc import Sequence


class InputError(Exception):
    """Bad input: says what is wrong, where, and the way out, in one line.

    Args:
      what: the fact found, e.g. "mix has 96 px patches, the config asks for 224 px".
      where: the file, config key or flag it was found in.
      way_out: what the user can do about it.
      listed: what the line speaks of where that is more than a line can hold; one a line below it.
    """

    def __init__(self, what: str, *, where: object, way_out: str, listed: Sequence[str] = ()):
        super().__init__(what)
        self.what, self.where, self.way_out = what, str(where), way_out
        self.listed = tuple(listed)

    def __str__(self) -> str:
        line = f"{self.where}: {self.what}; {self.way_out}"
        return "\n  ".join(map(printable, (line, *self.listed)))

    def __reduce__(self) -> tuple[object, ...]:
        # Exceptions are pickled by their positional arguments alone; workers raise this one too.
        known = {"where": self.where, "way_out": self.way_out, "listed": self.listed}
        return functools.partial(InputError, **known), (self.what,)


def printable(line: str) -> str:
    """One line in which nothing breaks it or steers the terminal, whatever it is made of.

    File names, cells, what files of strangers say of themselves, and other libraries' words may.
    """
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode() for each in line
    )
