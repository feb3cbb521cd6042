"""Files that come beside images: masks and annotations, told by their names. The one such rule.

`prepare` leaves them out of a folder, noting each in rejected.csv, and `datasets --check` does not
count them. What a CSV lists, or is named as a source itself, is taken.
"""

import logging
import os
import re

log = logging.getLogger(__name__)

REASON = "a mask or annotation, by its name"
WAY_OUT = "list the files in a CSV (--labels) if they are images"
# tumor_001_mask.tif, train_label_masks/, train_1_anno.bmp; gt only at an end: TCGA-GT-… is a slide.
_WORDS = re.compile(
    r"(^|[ _-])((masks?|annos?|annotations?|labels?)($|[ _-])|gt$)|^gt[ _]", re.IGNORECASE
)


def is_beside(path: str) -> bool:
    """Whether a file, or a folder that it lies in, is named as masks and annotations are.

    Args:
      path: relative to the source, with "/"; one that ends in "/" is a folder.
    """
    *folders, name = path.split("/")
    return any(_WORDS.search(each) for each in (*folders, os.path.splitext(name)[0]))


def warn(example: str, count: int) -> None:
    """A line on stderr if `count` files, such as `example`, were left out."""
    if count:
        log.warning("%d files left out, each %s, e.g. %s; %s", count, REASON, example, WAY_OUT)
