"""Which index finds nearest patches? Recall, seconds to build and to ask; usearch, hnswlib, exact.

    pip install 'histo-simclr[slides,look]' hnswlib==0.8.0
    python docs/neighbor_index.py SLIDE [--patches 10000] [--features FOLDER]

Without --features: those of a ResNet-18 with random weights, of patches of a slide read so densely
that they overlap, as neighbors of real features do; with it: of H5 files, as `histo-simclr look`
reads them. Both indexes are built with equal settings and on one thread, so that they are the same
each time. Prints one row of Markdown a setting.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

COUNT = 6  # neighbors asked for, as `histo-simclr look` does
QUERIES = 2000
PX = 64
# Links of a node (M), candidates while it is built, candidates while it is asked.
SETTINGS = ((16, 128, 64), (16, 128, 128), (32, 200, 128))


def main() -> None:
    """Prints what was measured."""
    args = _arguments()
    features = _of_files(args.features) if args.features else _of_slide(args.slide, args.patches)
    rng = np.random.default_rng(0)
    features = features[rng.permutation(len(features))]
    features = features / np.linalg.norm(features, axis=1, keepdims=True)
    count = min(QUERIES, len(features) // 5)
    queries, gallery = features[:count], features[count:]
    print(f"{len(gallery):,} patches, {features.shape[1]} features, {count:,} asked for {COUNT}\n")
    truth, seconds = _exact(queries, gallery)
    print("| index | M, built, asked with | build | 1,000 queries | recall |\n|---|---|---|---|---|")
    _row("exact (evaluate/neighbors.py)", "", 0.0, seconds / count * 1000, 1.0)
    for setting in SETTINGS:
        for name, build in (("usearch", _usearch), ("hnswlib", _hnswlib)):
            start = time.perf_counter()
            ask = build(gallery, setting)
            built = time.perf_counter() - start
            start = time.perf_counter()
            found = ask(queries)
            asked = (time.perf_counter() - start) / count * 1000
            _row(name, ", ".join(map(str, setting)), built, asked, _recall(found, truth))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("slide", type=Path, nargs="?", help="whole slide")
    parser.add_argument("--patches", type=int, default=10_000, help="read from the slide")
    parser.add_argument("--features", type=Path, help="folder of H5 files, instead of a slide")
    args = parser.parse_args()
    if not args.slide and not args.features:
        parser.error("give a slide, or --features FOLDER")
    return args


def _of_files(folder: Path) -> np.ndarray:
    from histo_simclr.maps import feature_files

    return np.concatenate([feature_files.read(file).features for file in feature_files.find(folder)])


def _of_slide(slide: Path, count: int) -> np.ndarray:
    """(n, 512) float32 of n ≈ count patches on a regular grid."""
    import jax
    from flax import nnx

    from histo_simclr import mesh
    from histo_simclr.evaluate import extract
    from histo_simclr.model.resnet import ResNet
    from histo_simclr.slides.reader import open_slide

    with open_slide(slide) as opened:
        pixels = opened.thumbnail(1.0, max_pixels=50_000_000)
    step = max(1, int(np.sqrt((pixels.shape[0] - PX) * (pixels.shape[1] - PX) / count)))
    places = [
        (top, left)
        for top in range(0, pixels.shape[0] - PX, step)
        for left in range(0, pixels.shape[1] - PX, step)
    ]
    encoder = ResNet("resnet18", rngs=nnx.Rngs(0))
    encoder.eval()
    encode = extract.encoding(encoder, px=PX, mean=(0.5,) * 3, std=(0.5,) * 3, mesh=mesh.make())
    found = []
    for start in range(0, len(places), 256):
        part = places[start : start + 256]
        patches = np.zeros((256, PX, PX, 3), np.uint8)
        for row, (top, left) in enumerate(part):
            patches[row] = pixels[top : top + PX, left : left + PX]
        found.append(np.asarray(encode(jax.numpy.asarray(patches)))[: len(part)])
    return np.concatenate(found)


def _exact(queries: np.ndarray, gallery: np.ndarray) -> tuple[np.ndarray, float]:
    from histo_simclr.evaluate import neighbors

    start = time.perf_counter()
    found, _ = neighbors.nearest(queries, gallery, count=COUNT)
    return found, time.perf_counter() - start


def _usearch(gallery: np.ndarray, setting: tuple[int, int, int]) -> Callable:
    from usearch.index import Index

    links, built, asked = setting
    index = Index(
        ndim=gallery.shape[1],
        metric="cos",
        dtype="f32",
        connectivity=links,
        expansion_add=built,
        expansion_search=asked,
    )
    index.add(np.arange(len(gallery)), gallery, threads=1)
    return lambda queries: np.asarray(index.search(queries, COUNT, threads=1).keys)


def _hnswlib(gallery: np.ndarray, setting: tuple[int, int, int]) -> Callable:
    import hnswlib

    links, built, asked = setting
    index = hnswlib.Index(space="cosine", dim=gallery.shape[1])
    index.init_index(len(gallery), ef_construction=built, M=links, random_seed=0)
    index.set_ef(asked)
    index.add_items(gallery, np.arange(len(gallery)), num_threads=1)
    return lambda queries: index.knn_query(queries, COUNT, num_threads=1)[0]


def _recall(found: np.ndarray, truth: np.ndarray) -> float:
    """Share of the true neighbors that were found."""
    pairs = zip(found.tolist(), truth.tolist(), strict=True)
    return sum(len(set(one) & set(other)) for one, other in pairs) / truth.size


def _row(name: str, setting: str, built: float, asked: float, recall: float) -> None:
    print(f"| {name} | {setting} | {built:.1f} s | {asked:.2f} s | {recall:.4f} |", flush=True)


if __name__ == "__main__":
    main()
