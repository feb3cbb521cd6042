"""Features of slides → a page and a GeoJSON file each: clusters, colors, heat map, neighbors."""

import sys
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np

from histo_simclr.maps import colors, feature_files, gallery, overview, page, probe_files, qupath
from histo_simclr.maps.feature_files import SlideFeatures
from histo_simclr.maps.gallery import Gallery
from histo_simclr.maps.neighbor_index import NeighborIndex
from histo_simclr.maps.probe_files import Probe
from histo_simclr.maps.slide_pictures import SlidePictures
from histo_simclr.prepare import whole

# Typical patches shown of each cluster.
TYPICAL = 5
# Patches that clusters and components are fitted on.
_FITTED_ON = 20_000
# All pictures of patches in one page, in bytes before base64.
_PICTURE_BYTES = 3_000_000
PAGES, QUPATH, PROBE = "slides", "qupath", "probe.npz"


class Settings(NamedTuple):
    """What a look shows.

    Fields:
      clusters: k of k-means.
      near: neighbors of each patch.
      patches: most patches on a page; a slide's others are in its GeoJSON only.
      pictures: most pictures of patches on a page.
      gallery: most patches of all slides that neighbors are looked for among.
      seed: of what is drawn, and of k-means.
    """

    clusters: int = 8
    near: int = 6
    patches: int = 20_000
    pictures: int = 600
    gallery: int = 200_000
    seed: int = 0


class Fitted(NamedTuple):
    """What all slides have in common."""

    gallery: Gallery
    colors: colors.Fitted
    index: NeighborIndex
    typical: np.ndarray
    probe: Probe | None


def look(
    features: Path,
    out: Path,
    *,
    places: dict[str, str],
    probe: Probe | None,
    said_of_probe: str,
    settings: Settings,
) -> Path:
    """Writes OUT/index.html, slides/SLIDE.html and qupath/SLIDE.geojson; whole or not at all.

    Equal arguments give equal bytes. At a time, memory holds the gallery and one slide.

    Args:
      features: folder of H5 files, see `feature_files.find`.
      out: made here; must not be there.
      places: slide id → the slide's file, of those that are at hand.
      probe: whose heat map is shown, also written as OUT/probe.npz.
      said_of_probe: where it is from, for readers of the pages.
      settings: see there.

    Returns:
      Path of index.html.

    Raises:
      InputError: files that cannot be used, a probe of another encoder, or `out` is there or cannot
        be written.
    """
    whole.refuse_existing(out, "the result")
    files = feature_files.find(features)
    fitted = _fit(files, probe, settings)
    if probe:
        probe_files.check(
            probe,
            dimensions=fitted.gallery.unit.shape[1],
            model=fitted.gallery.model,
            where="the probe",
        )
    with whole.new_folder(out, beside=out.absolute().parent) as folder:
        (folder / PAGES).mkdir()
        (folder / QUPATH).mkdir()
        if probe:
            probe_files.write(folder / PROBE, probe)
        rows = []
        with SlidePictures(places) as pictures:
            for number, file in enumerate(files):
                print(f"{number + 1} of {len(files)}: {file.stem}", file=sys.stderr)
                rows.append(_write(folder, number, file, fitted, pictures, settings))
            trouble = pictures.trouble
        html = overview.render(fitted.gallery, rows, trouble, said_of_probe)
        (folder / "index.html").write_text(html, encoding="utf-8")
    for slide, reason in trouble.items():
        print(f"{slide}: no picture, or not all: {reason}", file=sys.stderr)
    return out / "index.html"


def _fit(files: list[Path], probe: Probe | None, settings: Settings) -> Fitted:
    found = gallery.collect(files, most=settings.gallery, seed=settings.seed)
    rows = gallery.sample(len(found.unit), _FITTED_ON, seed=settings.seed)
    fitted = colors.fit(found.unit[rows], cluster_count=settings.clusters, seed=settings.seed)
    typical = colors.typical(fitted, found.unit, count=TYPICAL)
    return Fitted(found, fitted, NeighborIndex(found.unit, found.groups()), typical, probe)


def _write(
    folder: Path,
    number: int,
    file: Path,
    fitted: Fitted,
    pictures: SlidePictures,
    settings: Settings,
) -> overview.Row:
    """Page and GeoJSON of one slide."""
    slide = feature_files.read(file)
    looks = _looks(slide, fitted)
    text = qupath.collection(
        slide.slide,
        slide.coords,
        slide.side,
        names=[f"cluster {each + 1}" for each in looks.cluster],
        colors=[colors.rgb_of(colors.PALETTE[each]) for each in looks.cluster],
        measurements=_measurements(slide, looks, fitted.probe),
    )
    (folder / QUPATH / f"{slide.slide}.geojson").write_text(text, encoding="utf-8")
    shown = gallery.sample(len(slide.coords), settings.patches, seed=settings.seed)
    near, cosines = fitted.index.nearest(
        slide.features[shown], fitted.gallery.groups_of(number, shown), count=settings.near
    )
    content = page.Content(
        slide=slide,
        looks=page.Looks(*(None if each is None else each[shown] for each in looks)),
        shown=shown,
        thumbnail=pictures.thumbnail(slide.slide),
        near=near,
        cosines=cosines,
        gallery=fitted.gallery,
        typical=fitted.typical,
        pictures=_pictures(near, fitted, pictures, settings),
        classes=fitted.probe.classes if fitted.probe else [],
    )
    html = page.render(content)
    (folder / PAGES / f"{slide.slide}.html").write_text(html, encoding="utf-8")
    sizes = np.bincount(looks.cluster, minlength=len(fitted.typical))
    return overview.Row(slide.slide, len(slide.coords), content.thumbnail is not None, sizes)


def _looks(slide: SlideFeatures, fitted: Fitted) -> page.Looks:
    values = colors.components(fitted.colors, slide.features)
    return page.Looks(
        cluster=colors.assign(fitted.colors, slide.features),
        components=values,
        rgb=colors.as_rgb(fitted.colors, values),
        probabilities=fitted.probe and probe_files.probabilities(fitted.probe, slide.features),
    )


def _measurements(
    slide: SlideFeatures, looks: page.Looks, probe: Probe | None
) -> dict[str, np.ndarray]:
    found = {"cluster": looks.cluster + 1}
    found |= {f"component {n + 1}": values for n, values in enumerate(looks.components.T)}
    if probe:
        columns = zip(probe.classes, looks.probabilities.T, strict=True)
        found |= {f"probability: {name}": values for name, values in columns}
    if slide.tissue is not None:
        found["tissue fraction"] = slide.tissue
    return found


def _pictures(
    near: np.ndarray, fitted: Fitted, pictures: SlidePictures, settings: Settings
) -> dict[int, bytes]:
    """Row of the gallery → JPEG: typical patches, then those that are neighbors most often."""
    typical = [row for row in fitted.typical.ravel().tolist() if row >= 0]
    often = Counter(near[near >= 0].tolist())
    for row in typical:
        often.pop(row, None)
    ranked = typical + sorted(often, key=lambda row: (-often[row], row))
    found: dict[int, bytes] = {}
    # In the order of slides and rows, each slide is opened once.
    for row in sorted(ranked[: settings.pictures]):
        at = fitted.gallery
        jpeg = pictures.patch(
            at.slides[at.slide[row]], *at.coords[row].tolist(), float(at.side[row])
        )
        if jpeg:
            found[row] = jpeg
    kept, room = {}, _PICTURE_BYTES
    for row in ranked:
        if row in found and len(found[row]) <= room:
            kept[row] = found[row]
            room -= len(found[row])
    return kept
