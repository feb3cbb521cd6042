"""What a library that opens slides has to give, and the error of a slide that cannot be used."""

import contextlib
import importlib
import logging
import re
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Protocol

from PIL import Image

from histo_simclr.errors import InputError

WHITE = (255, 255, 255)


class SlideError(Exception):
    """A slide that cannot be used; the message is the reason for slides.csv."""


class Pyramid(Protocol):
    """An open slide.

    Attributes:
      reader: name of the library.
      dimensions: (width, height) of each level in px, the finest first.
      properties: metadata under OpenSlide's names; OME's under `ome.…`.
      background: RGB of what the scanner did not see.
    """

    reader: str
    dimensions: list[tuple[int, int]]
    properties: Mapping[str, str]
    background: tuple[int, int, int]

    def region(self, level: int, x: int, y: int, width: int, height: int) -> Image.Image:
        """RGB pixels of a level, from (x, y) in that level's px; background outside the slide.

        Raises:
          SlideError: the file is damaged there.
        """
        ...

    def close(self) -> None:
        """Closes the file."""
        ...


def library(name: str) -> ModuleType:
    """A library of the extra `slides`; InputError when it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise InputError(
            f"{name} cannot be imported ({error})",
            where="whole slides",
            way_out="install the extra: pip install 'histo-simclr[slides]'",
        ) from error


def first_line(error: Exception) -> str:
    """The first line of an error's text without addresses of objects, or its kind."""
    text = re.sub(r"<[^>]*>", "", str(error)).strip()
    return (text.splitlines() or [type(error).__name__])[0]


@contextlib.contextmanager
def refuse_logged_errors(name: str) -> Iterator[None]:
    """SlideError for what the logger `name` calls an error: libraries go on with half a file."""
    found: list[str] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(record.getMessage())

    logger, collector = logging.getLogger(name), Collector(logging.ERROR)
    propagate, logger.propagate = logger.propagate, False
    logger.addHandler(collector)
    try:
        yield
    finally:
        logger.removeHandler(collector)
        logger.propagate = propagate
    if found:
        raise SlideError(f"damaged ({re.sub('<[^>]*>', '', found[0]).strip()})")
