"""SIGTERM where a run has nothing to save: it ends at once, with exit code 0.

Wherever it may be killed it may also end, so nothing is tidied up.
"""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator


class Ending:
    """Whether SIGTERM ends the process at once, or is left to who has something to save."""

    def __init__(self) -> None:
        self._held = self._came = False

    def hold(self) -> None:
        """From here on there is something to save."""
        self._held = True

    def release(self) -> None:
        """All is saved: ends the process if SIGTERM came meanwhile."""
        self._held = False
        if self._came:
            self.sigterm()

    def sigterm(self) -> None:
        """Ends the process, or notes that it is to end."""
        self._came = True
        if not self._held:
            try:
                print("stopped by SIGTERM; run the same command to go on", flush=True)
            finally:  # even where nobody listens any more
                os._exit(0)


@contextlib.contextmanager
def at_sigterm() -> Iterator[Ending]:
    """Ends the process at SIGTERM while it is not held.

    A handler in Python waits until the main thread is back from the compiler, which for a large
    network takes longer than the 30 s that clusters grant. The interpreter writes the signal's
    number into a pipe right away; a thread waits for it there.
    """
    ending = Ending()
    receive, send = os.pipe()
    os.set_blocking(send, False)
    pipe_before = signal.set_wakeup_fd(send, warn_on_full_buffer=False)
    handler_before = signal.signal(signal.SIGTERM, lambda *_: None)
    watcher = threading.Thread(target=_watch, args=(receive, ending), daemon=True)
    watcher.start()
    try:
        yield ending
    finally:
        signal.set_wakeup_fd(pipe_before)
        signal.signal(signal.SIGTERM, handler_before)
        os.close(send)  # which ends the watcher
        watcher.join()
        os.close(receive)


def _watch(receive: int, ending: Ending) -> None:
    while numbers := os.read(receive, 64):
        if signal.SIGTERM in numbers:
            ending.sigterm()
