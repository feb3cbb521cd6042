"""What a process frees, given back to the system at once, for commands that hold one encoder.

glibc keeps freed blocks, larger ones the longer a process lives, and XLA's compiler leaves half the
weights of a ResNet-50 behind it: kept, all this lies beside the encoder that is read next.
"""

import contextlib
import ctypes
from collections.abc import Callable, Iterator

import jax

# malloc.h: blocks of this size and more are mapped one by one, and unmapped when they are freed.
_M_MMAP_THRESHOLD, _BYTES = -3, 1 << 17
_COMPILED = "/jax/core/compile/backend_compile_duration"


@contextlib.contextmanager
def given_back() -> Iterator[None]:
    """For commands: what glibc is told holds until the process ends. Elsewhere it does nothing."""
    trim = _glibc()

    def compiled(event: str, *_: object, **__: object) -> None:
        if trim is not None and event == _COMPILED:
            trim(0)

    jax.monitoring.register_event_duration_secs_listener(compiled)
    try:
        yield
    finally:
        jax.monitoring.unregister_event_duration_listener(compiled)


def _glibc() -> Callable[[int], int] | None:
    """Its malloc_trim, after its mallopt was called; None of other C libraries."""
    library = ctypes.CDLL(None)
    if not (hasattr(library, "mallopt") and hasattr(library, "malloc_trim")):
        return None
    library.mallopt(_M_MMAP_THRESHOLD, _BYTES)
    return library.malloc_trim
