"""A line on stderr that says how far a long command is and when it will end."""

import sys
import time


class Progress:
    """Counts towards a known total; writes at most every few seconds.

    Args:
      what: what is counted, plural.
      total: how many there are.
    """

    # Often enough to see that it lives; on a log file, seldom enough to be read.
    SECONDS_TERMINAL, SECONDS_LOG = 0.5, 15.0

    def __init__(self, what: str, total: int):
        self._what, self._total = what, total
        self._start = self._last = time.monotonic()
        self._terminal = sys.stderr.isatty()

    def show(self, done: int, note: str = "", *, total: int | None = None) -> None:
        """Writes the line if the last one is old enough; `total` is a better guess than before."""
        self._total = self._total if total is None else total
        now = time.monotonic()
        if now - self._last < (self.SECONDS_TERMINAL if self._terminal else self.SECONDS_LOG):
            return
        self._last = now
        rate = done / (now - self._start)
        left = (self._total - done) / rate if rate else float("inf")
        line = (
            f"{done:,} of {self._total:,} {self._what}, {rate:,.0f}/s, "
            f"{_clock(left)} left{note and f', {note}'}"
        )
        print(
            f"\r{line:<78}" if self._terminal else line,
            end="" if self._terminal else "\n",
            file=sys.stderr,
            flush=True,
        )

    def close(self) -> None:
        """Clears the line on a terminal."""
        if self._terminal:
            print(f"\r{'':<78}\r", end="", file=sys.stderr, flush=True)


def _clock(seconds: float) -> str:
    if seconds == float("inf"):
        return "?"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"
