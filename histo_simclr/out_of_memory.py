"""Out of memory, of a device or of the machine, as one line that names what would need less."""

import contextlib
import re
from collections.abc import Iterator

from histo_simclr.errors import InputError

# By program: what needs less memory. In pretraining the first two change roundings only, the third
# what BatchNorm normalizes over, the last the method.
LEVERS = {
    "pretrain": "set --config.compute.remat=convolutions or blocks, "
    "--config.compute.similarity_rows=N, --config.compute.microbatches=N, or a smaller "
    "--config.batch_size",
    "linear_eval": "set a smaller --config.batch_size",
    "evaluate": "set a smaller --config.batch_size, or the batch_size of the protocol named "
    "last, e.g. --config.settings.finetune.batch_size",
}
# How XLA, CUDA and TensorFlow say it, in errors without a common class.
_SAID = re.compile(r"RESOURCE_EXHAUSTED|ResourceExhausted|out.of.memory", re.IGNORECASE)


def is_meant(error: BaseException) -> bool:
    """Whether an error says that memory ran out."""
    return isinstance(error, MemoryError) or _SAID.search(_first_line(error)) is not None


@contextlib.contextmanager
def naming(levers: str) -> Iterator[None]:
    """One clear line for memory that ran out.

    Args:
      levers: the way out: what to set, in the words of the command line.

    Raises:
      InputError: memory ran out.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        if not is_meant(error):
            raise
        raise InputError(
            f"ran out of it ({_first_line(error)[:200]})", where="memory", way_out=levers
        ) from error


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".strip().split("\n")[0]
