"""The slides of a job, those of this process, and how each is to be looked at."""

from collections.abc import Sequence

from histo_simclr.embed import shares
from histo_simclr.embed.options import Options
from histo_simclr.embed.slide_ends import End
from histo_simclr.errors import InputError
from histo_simclr.prepare import inspection, slide_flags, slide_list, storage
from histo_simclr.prepare.engine import LOCAL, Engine
from histo_simclr.prepare.inspection import Slides
from histo_simclr.prepare.item import Item
from histo_simclr.prepare.survey import Sampling, Task
from histo_simclr.slides import resolution
from histo_simclr.slides.grid import Target

# More than any slide has: all places with tissue are taken.
_ALL_PLACES = 10**9


def listed(
    sources: Sequence[str], options: Options, mpp: float, px: int
) -> tuple[list[Task], list[End]]:
    """The tasks of this process's share, and the slides that their source says to leave out.

    Args:
      sources: slide files, folders of them, CSVs with a column `path`.
      options: of the job.
      mpp, px: of the patches.

    Raises:
      InputError: no slides, or none for this share; slides in a store; two of one id.
    """
    for source in sources:
        storage.local_path(source)  # of a store, every worker would copy the whole slide
    items, _ = slide_list.find(list(sources), defaults=Item("", ""), pattern="", labels="")
    found = Slides(
        items=[item._replace(data=storage.absolute(str(item.data))) for item in items],
        set_aside=[],
        mpp=resolution.read_table(options.mpp_table) if options.mpp_table else {},
        regions=options.regions and options.regions.absolute(),
        skip_no_mpp=True,
        engine=Engine(LOCAL, (), options.workers, options.silence),
        parts=None,
    )
    slide_flags.warn_of_unused(found, options.mpp_table)
    mine = shares.of(found.items, options.share)
    if not mine:
        raise InputError(
            f"{len(items)} slides leave none for share {options.share}",
            where="--share",
            way_out="share among fewer processes",
        )
    sampling = Sampling(
        targets=(Target(mpp, 1.0),),
        count=_ALL_PLACES,
        least_tissue=options.tissue,
        may_overlap=True,
        seed=0,
        keep=tuple(options.keep),
        shared=options.overlap,
    )
    rows = {item.name: inspection.first_row(item) for item in mine}
    unusable = [End(*row[:2], row.status, row.reason) for row in rows.values() if row.status]
    return list(inspection.tasks(found, rows, px, sampling)), unusable
