"""What can be set of an embedding job; every default stands here, once."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from histo_simclr.embed import also, layouts
from histo_simclr.embed.shares import ALL, Share
from histo_simclr.errors import InputError

DTYPES = ("float32", "float16")


class Options(NamedTuple):
    """Settings of a job.

    Fields:
      mpp: µm/px of the patches; 0: the only one that the encoder was trained on.
      px: side of the patches, which the encoder sees as they are; 0: that it was trained on.
      overlap: px that neighboring patches share.
      tissue: least share of a patch that is tissue.
      keep: causes for which no tissue is removed, see slides.tissue.
      mpp_table: CSV wsi,mpp that goes before what the files say.
      regions: folder of SLIDE.geojson or SLIDE.png: where the tissue is, instead of the rules.
      layout: whose folders, names and attributes, see `layouts`.
      also: further formats, see `also`.
      dtype: of the features in the files.
      batch_size: patches on the devices at a time; 0: 256, or 64 on the CPU.
      workers: processes that read patches; 0: one a core, or on the CPU, which encodes too, one for
        two cores.
      silence: seconds without a sign of life after which a slide is set aside.
      share: the slides of this process.
      retry_failed: whether slides that failed in an earlier run are tried again.
      name: of the encoder in names of folders; "": histo_simclr_ARCH.
    """

    mpp: float = 0.0
    px: int = 0
    overlap: int = 0
    tissue: float = 0.5
    keep: tuple[str, ...] = ()
    mpp_table: Path | None = None
    regions: Path | None = None
    layout: str = layouts.TRIDENT
    also: tuple[str, ...] = ()
    dtype: str = "float32"
    batch_size: int = 0
    workers: int = 0
    silence: float = 600.0
    share: Share = ALL
    retry_failed: bool = False
    name: str = ""

    @property
    def copies(self) -> tuple[str, ...]:
        """All further formats, with those of the layout."""
        return ((also.PT,) if self.layout == layouts.CLAM else ()) + self.also


def check(options: Options, px: int) -> None:
    """InputError for a setting that cannot be, said by its flag.

    Args:
      options: all of them.
      px: side of the patches.
    """
    limits = [
        ("--px", px, 16, 4096),
        ("--overlap", options.overlap, 0, px - 1),
        ("--tissue", options.tissue, 0, 1),
        ("--batch-size", options.batch_size, 0, 2**16),
        ("--workers", options.workers, 0, 1024),
        ("--silence", options.silence, 1, 10**6),
    ]
    for flag, value, low, high in limits:
        if not low <= value <= high:
            raise InputError(f"{value:g}", where=flag, way_out=f"give {low} to {high}")
    _check_choice("--layout", options.layout, layouts.LAYOUTS)
    _check_choice("--dtype", options.dtype, DTYPES)
    also.check(options.also)
    if not options.name.isprintable() or set(options.name) & set("/\\"):
        raise InputError(repr(options.name), where="--name", way_out="give a name for a folder")
    if options.regions and not options.regions.is_dir():
        raise InputError("no such folder", where=options.regions, way_out="give --regions a folder")


def _check_choice(flag: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise InputError(repr(value), where=flag, way_out=f"use {' or '.join(known)}")
