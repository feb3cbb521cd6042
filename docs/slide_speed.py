"""Slides to patches: speed and memory. Each case prints a table of benchmarks.md.

python docs/slide_speed.py readers       CPU ms a patch, by library and by step
python docs/slide_speed.py workers       one worker process against two
python docs/slide_speed.py memory        peak memory at 1,000 and at 100,000 patches
python docs/slide_speed.py against TOOL --python PYTHON   the same patches by another tool
python docs/slide_speed.py projection    25,000 slides and 4,000,000 patches

Measured on the slide in tests/slides and on a *repeated slide*: its own JPEG tiles side by side,
20 × 16 times, with reduced levels, 21 × 23 mm as real ones are. Files are in the page cache: what a
disk or network adds is not in any figure. `--folder` says where 1 GB may lie meanwhile.
"""

import argparse
import collections
import contextlib
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import tifffile
from PIL import Image
from process_usage import Usage, middle, watched

from histo_simclr import image_hash
from histo_simclr.prepare import patches
from histo_simclr.prepare.patches import Cutting
from histo_simclr.slides import grid, reader, tissue
from histo_simclr.slides.by_openslide import OpenSlidePyramid
from histo_simclr.slides.by_pillow import PlainImage
from histo_simclr.slides.by_tifffile import TiffPyramid
from histo_simclr.slides.grid import Places, Target
from histo_simclr.slides.reader import Slide
from histo_simclr.slides.resolution import Resolution

ROOT = Path(__file__).parents[1]
SLIDE = ROOT / "tests/slides/CMU-1-Small-Region.svs"
MPP, PX = 0.5, 224  # of the patches
CUTTING = Cutting(PX, PX, "jpeg", 90)
ROUNDS = 3  # the cases of a table take turns; medians are shown
TILE = 240  # of the slide's JPEG tiles
ACROSS, DOWN = 20, 16
STEPS = ("decode tiles", "resample", "JPEG encode", "SHA-256", "perceptual hash", "moments")
REST = "decode the JPEG, copies"
SLIDES, PATCHES = 25_000, 4_000_000  # the paper's
FEW, MANY = PATCHES // SLIDES, 1000  # patches of a slide: on average, and at most


def main() -> None:
    """Runs one case."""
    cases = {"readers": readers, "workers": workers, "memory": memory, "projection": projection}
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("case", choices=[*cases, "against"])
    parser.add_argument("tool", nargs="?", default="histolab-mpp", help="see slide_peers.py")
    parser.add_argument("--python", default="python", help="of the environment that has the tool")
    parser.add_argument("--folder", type=Path, help="where temporary files go")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        if args.case == "against":
            against(Path(name), args.tool, args.python)
        else:
            cases[args.case](Path(name))


def readers(folder: Path) -> None:
    """CPU ms a patch of every reader, called as `prepare` does; opened anew for each round."""
    with Image.fromarray(tifffile.imread(SLIDE)) as image:
        image.save(folder / "slide.png", compress_level=1)
    wide = repeated_slide(folder / "repeated.svs")
    cases = [
        ("OpenSlide", OpenSlidePyramid, SLIDE),
        ("tifffile", TiffPyramid, SLIDE),
        ("Pillow, of the slide as PNG", PlainImage, folder / "slide.png"),
        ("OpenSlide, repeated slide", OpenSlidePyramid, wide),
        ("tifffile, repeated slide", TiffPyramid, wide),
    ]
    with reader.open_slide(SLIDE) as small, reader.open_slide(wide) as large:
        resolution = small.resolution
        places = {SLIDE: placed(small), wide: placed(large)}
    places[folder / "slide.png"] = places[SLIDE]
    taken = collections.defaultdict(list)
    for _ in range(ROUNDS):
        for name, library, path in cases:
            taken[name].append(steps(library, path, resolution, places[path]))
    rows, shares = [], []
    for name, _, path in cases:
        ms = {
            step: statistics.median(each[step] for each in taken[name]) for step in taken[name][0]
        }
        read, whole = ms["read"], ms["whole"]
        rows.append([name, f"{len(places[path].x):,}", f"{ms['open']:.1f}", f"{read:.2f}"])
        rows[-1] += [f"{1e3 / read:.0f}", f"{whole:.2f}", f"{1e3 / whole:.0f}"]
        parts = [ms[step] for step in STEPS] + [whole - sum(ms[step] for step in STEPS)]
        shares.append([name, *(f"{part:.2f} ({part / whole:.0%})" for part in parts)])
    table(
        "reader|patches|open, CPU ms|read, CPU ms a patch|patches/s a core"
        "|read, encode, fingerprints|patches/s a core",
        rows,
    )
    table("|".join(["CPU ms a patch (share)", *STEPS, REST]), shares)


def steps(library: Any, path: Path, resolution: Resolution, places: Places) -> dict[str, float]:
    """CPU ms of `open`; CPU ms a patch of `read`, of `whole` and of each of STEPS."""
    spent: dict[str, float] = collections.defaultdict(float)

    def timed(step: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **named: Any) -> Any:
            start = time.process_time()
            result = function(*arguments, **named)
            spent[step] += time.process_time() - start
            return result

        return run

    pyramid = timed("open", library)(path)
    functions = [(pyramid, "region"), (Image.Image, "resize"), (Image.Image, "save")]
    functions += [(image_hash, "exact"), (image_hash, "perceptual"), (patches, "moments")]
    with Slide(pyramid, resolution) as slide, contextlib.ExitStack() as stack:
        for step, (owner, name) in zip(STEPS, functions, strict=True):
            function = timed(step, getattr(owner, name))
            stack.enter_context(mock.patch.object(owner, name, function))
        read = timed("read", slide.read)
        encode = timed("encode", patches.encode)
        for x, y in zip(places.x.tolist(), places.y.tolist(), strict=True):
            image = timed("copy", Image.fromarray)(read(x, y, mpp=MPP, px=PX))
            encode(image, CUTTING, x=x, y=y, side=PX)
    spent["whole"] = spent["read"] + spent["copy"] + spent["encode"]
    count = {step: 1 if step == "open" else len(places.x) for step in spent}
    return {step: 1e3 * seconds / count[step] for step, seconds in spent.items()}


def placed(slide: Slide) -> Places:
    """Up to 1000 places with tissue, chosen as `prepare` does."""
    thumbnail = slide.thumbnail(tissue.MPP, max_pixels=tissue.MAX_PIXELS)
    mask = tissue.find(thumbnail, tissue.MPP).mask
    laid = grid.lay(mask, slide.dimensions[0], slide.resolution, MPP, PX)
    return grid.choose(
        [laid],
        [Target(MPP, 1.0)],
        slide="slide",
        count=1000,
        least_tissue=0.5,
        may_overlap=False,
        seed=0,
    )


def workers(folder: Path) -> None:
    """Slides of 1000 patches by one worker and by two; what starting costs is taken out.

    The time of 2 slides is subtracted from that of 8.
    """
    slide = repeated_slide(folder / "repeated.svs")
    few, many = same_slides(folder / "few", slide, 2), same_slides(folder / "many", slide, 8)
    taken = collections.defaultdict(list)
    for _ in range(2):
        for number in (1, 2):
            for source in (few, many):
                taken[number, source].append(prepare(source, "--workers", number))
    rows, rates = [], []
    for number in (1, 2):
        first, last = (middle(taken[number, source]) for source in (few, many))
        wall = last.wall - first.wall
        cpu = last.cpu - first.cpu
        rates.append(6000 / wall)
        rows.append([number, f"{wall:.1f} s", f"{rates[-1]:.0f}", f"{cpu / 6:.2f} ms"])
        rows[-1] += [f"{(last.parent - first.parent) / 6:.2f} ms", f"{rates[-1] / rates[0]:.2f}"]
    table(
        "workers|wall of 6 slides, 6,000 patches|patches/s|CPU a patch, survey of slides included"
        "|of it the parent's|ratio",
        rows,
    )


def memory(folder: Path) -> None:
    """Peak resident memory of `prepare --workers 2` on 1 and on 100 slides of 1000 patches.

    The patches are of 64 px, for speed. The slides are one file under many names, of which each
    gives other patches.
    """
    slide = repeated_slide(folder / "repeated.svs")
    rows = []
    for count in (1, 10, 100):
        used = prepare(
            same_slides(folder / f"of_{count}", slide, count), "--px", 64, "--workers", 2
        )
        rows.append([f"{used.patches:,}", f"{used.parent_peak:.0f} MiB"])
        rows[-1] += [f"{used.worker_peak:.0f} MiB", f"{used.wall:.0f} s"]
    table("patches|peak of the parent|peak of a worker|wall", rows)


def against(folder: Path, tool: str, python: str) -> None:
    """Slides of 160 patches by another tool (slide_peers.py) and by `prepare`, in turns.

    The time of 1 slide is subtracted from that of 2, so that imports do not count.
    """
    slide = repeated_slide(folder / "repeated.svs")
    one, two = same_slides(folder / "one", slide, 1), same_slides(folder / "two", slide, 2)
    taken = collections.defaultdict(list)
    by_peer(tool, python, one, 1)  # its libraries are in the page cache then, as ours are
    for _ in range(ROUNDS):
        for source in (one, two):
            taken[tool, source].append(by_peer(tool, python, source, FEW))
            ours = prepare(source, "--patches", FEW, "--workers", 1)
            taken["histo-simclr prepare", source].append(ours)
    rows = []
    for name in (tool, "histo-simclr prepare"):
        first, last = (middle(taken[name, source]) for source in (one, two))
        rows.append([last.wall - first.wall, last.cpu - first.cpu])
        rows[-1] += [first.wall, max(last.parent_peak, last.worker_peak)]
        rows[-1] += [(last.bytes - first.bytes) / FEW / 1e3]
    units = ("s", "s", "s", "MiB", "kB")
    told = [
        [name, *(f"{value:.1f} {unit}" for value, unit in zip(row, units, strict=True))]
        for name, row in zip((tool, "histo-simclr prepare"), rows, strict=True)
    ]
    ratios = [f"{ours / its:.2f}" for its, ours in zip(*rows, strict=True)]
    table(
        f"|wall of a slide, {FEW} patches|CPU of it|wall of one slide with all imports"
        "|peak of the largest process|bytes a patch",
        [*told, ["ratio", *ratios]],
    )


def by_peer(tool: str, python: str, source: Path, count: int) -> Usage:
    """Runs slide_peers.py on the slides of a folder."""
    slides = sorted(source.iterdir())
    with tempfile.TemporaryDirectory(dir=source.parent) as out:
        command = [python, str(ROOT / "docs/slide_peers.py"), tool, out, str(count)]
        used = watched([*command, *map(str, slides)])
        files = [path for path in Path(out).rglob("*") if path.is_file()]
        if len(files) != count * len(slides):
            raise SystemExit(f"{tool} wrote {len(files)} files, not {count * len(slides)}")
        return used._replace(patches=len(files), bytes=sum(each.stat().st_size for each in files))


def projection(folder: Path) -> None:
    """Core-hours and bytes of the paper's scale, from runs of `prepare` on the repeated slide.

    Its cost is taken for S a slide and P a patch, solved from runs with 1 and 3 slides and with 160
    (the average) and 1000 patches. 40× slides: patches of 1 µm/px, for which four times the pixels
    are read, as for 0.5 out of 0.25.
    """
    slide = repeated_slide(folder / "repeated.svs")
    one, three = same_slides(folder / "one", slide, 1), same_slides(folder / "three", slide, 3)
    runs = {"one": (one, FEW, MPP), "three": (three, FEW, MPP), "many": (one, MANY, MPP)}
    runs |= {"one at 40x": (one, FEW, 2 * MPP), "many at 40x": (one, MANY, 2 * MPP)}
    taken = collections.defaultdict(list)
    for _ in range(ROUNDS):
        for name, (source, count, mpp) in runs.items():
            flags = ["--patches", count, "--workers", 1, "--mpp", mpp]
            taken[name].append(prepare(source, *flags))
    used = {name: middle(each) for name, each in taken.items()}
    ms = {
        "20×": 1e3 * (used["many"].cpu - used["one"].cpu) / (MANY - FEW),
        "40×": 1e3 * (used["many at 40x"].cpu - used["one at 40x"].cpu) / (MANY - FEW),
    }
    survey = (used["three"].cpu - used["one"].cpu) / 2 - FEW * ms["20×"] / 1e3
    rows = []
    for name, patch in ms.items():
        hours = SLIDES * survey / 3600, PATCHES * patch / 3.6e6
        formula = f"{SLIDES:,} × {survey:.2f} s + {PATCHES:,} × {patch:.2f} ms"
        rows.append([f"CPU, {name} slides", formula, f"{hours[0]:.1f} h + {hours[1]:.1f} h"])
        rows[-1].append(f"{sum(hours):.0f} core-hours")
    size = (used["many"].bytes - used["one"].bytes) / (MANY - FEW)
    rest = (used["three"].bytes - used["one"].bytes) / 2 - FEW * size
    formula = f"{SLIDES:,} × {rest / 1e3:.0f} kB + {PATCHES:,} × {size / 1e3:.1f} kB"
    totals = SLIDES * rest / 1e9, PATCHES * size / 1e9
    rows.append(["bytes written", formula, f"{totals[0]:.1f} GB + {totals[1]:.1f} GB"])
    rows[-1].append(f"{sum(totals):.0f} GB")
    table("|slides + patches||sum", rows)


def prepare(source: Path, *flags: Any) -> Usage:
    """Runs `histo-simclr prepare SOURCE --slides` with these flags."""
    with tempfile.TemporaryDirectory(dir=source.parent) as out:
        command = [sys.executable, "-m", "histo_simclr", "prepare", str(source), "--slides"]
        command += ["--name", "speed", "--out", out, "--mpp", str(MPP), "--px", str(PX)]
        used = watched([*command, *map(str, flags)])
        files = [path for path in Path(out).rglob("*") if path.is_file()]
        manifest = next(path for path in files if path.name == "manifest.parquet")
        import pyarrow.parquet

        count = pyarrow.parquet.read_metadata(manifest).num_rows
        return used._replace(patches=count, bytes=sum(path.stat().st_size for path in files))


def same_slides(folder: Path, slide: Path, count: int) -> Path:
    """A folder with the slide under `count` names; the name decides which places it gives."""
    folder.mkdir()
    for number in range(count):
        (folder / f"slide_{number:03d}.svs").symlink_to(slide.resolve())
    return folder


def repeated_slide(path: Path) -> Path:
    """SLIDE's whole JPEG tiles side by side, ACROSS × DOWN times, with levels of 1/4 and 1/16."""
    with tifffile.TiffFile(SLIDE) as file:
        page = file.pages[0]
        columns, rows = page.imagewidth // TILE, page.imagelength // TILE
        tiles_a_row = -(-page.imagewidth // TILE)
        tiles = {}
        for index, (offset, count) in enumerate(
            zip(page.dataoffsets, page.databytecounts, strict=True)
        ):
            file.filehandle.seek(offset)
            tiles[divmod(index, tiles_a_row)] = file.filehandle.read(count)
        pixels = page.asarray()[: rows * TILE, : columns * TILE]
        scanner, tables = page.description.partition("|")[2], page.jpegtables
    width, height = ACROSS * columns * TILE, DOWN * rows * TILE
    repeated = (
        tiles[row % rows, column % columns]
        for row in range(DOWN * rows)
        for column in range(ACROSS * columns)
    )
    # As Aperio does: the samples in the JPEG are RGB.
    common = {"photometric": "rgb", "compression": "jpeg", "tile": (TILE, TILE), "metadata": None}
    common |= {"subsampling": (1, 1), "compressionargs": {"outcolorspace": "rgb"}}
    with tifffile.TiffWriter(path, bigtiff=True) as writer:
        writer.write(
            repeated,
            shape=(height, width, 3),
            dtype=np.uint8,
            jpegtables=tables,
            description=f"Aperio Image Library v11.2.1 \n{width}x{height}|{scanner}",
            **common,
        )
        for factor in (4, 16):
            size = (pixels.shape[1] // factor, pixels.shape[0] // factor)
            reduced = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BOX))
            level = np.tile(reduced, (DOWN, ACROSS, 1))
            description = f"Aperio Image Library v11.2.1 \n{level.shape[1]}x{level.shape[0]}"
            writer.write(level, subfiletype=1, description=description, **common)
    return path


def table(header: str, rows: Sequence[Sequence[Any]]) -> None:
    """Prints a Markdown table; columns of the header are parted by |."""
    print(f"\n| {' | '.join(header.split('|'))} |\n|{'---|' * (header.count('|') + 1)}")
    for row in rows:
        print(f"| {' | '.join(map(str, row))} |")


if __name__ == "__main__":
    main()
