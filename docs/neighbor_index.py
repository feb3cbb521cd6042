"""Which index finds nearest patches? Recall, seconds to build and to ask; usearch, hnswlib, exact.

    pip install 'histo-simclr[slides,look]' hnswlib==0.8.0
    python docs/neighbor_index.py --features FOLDER
    python docs/neighbor_index.py --slide SLIDE --checkpoint CHECKPOINT [--patches 10000]

The features are those of H5 files, as `histo-simclr look` reads them, or those of a small slide's
patches, so close together that they overlap. Both indexes are built with equal settings, and on one
thread, so that they are the same each time. Prints one row of Markdown a setting.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

COUNT = 6  # neighbors asked for, as `histo-simclr look` does
QUERIES = 2000
PX, MPP = 64, 1.0  # of the patches of a slide
# Links of a node (M), candidates while it is built, candidates while it is asked.
SETTINGS = ((16, 128, 64), (16, 128, 128), (32, 200, 128))


def main() -> None:
    """Prints what was measured."""
    args = _arguments()
    if args.features:
        features = _of_files(args.features)
    else:
        features = _of_slide(args.slide, args.checkpoint, args.patches)
    rng = np.random.default_rng(0)
    features = features[rng.permutation(len(features))]
    features = features / np.linalg.norm(features, axis=1, keepdims=True)
    count = min(QUERIES, len(features) // 5)
    queries, gallery = features[:count], features[count:]
    print(f"{len(gallery):,} patches, {features.shape[1]} features, {count:,} asked for {COUNT}\n")
    truth, seconds = _exact(queries, gallery)
    # Distances of unit vectors order as cosines do; about their mean, float32 has digits left.
    queries, gallery = queries - gallery.mean(0), gallery - gallery.mean(0)
    print(
        "| index | M, built, asked with | build | 1,000 queries | recall |\n|---|---|---|---|---|"
    )
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
    parser.add_argument("--features", type=Path, help="folder of H5 files")
    parser.add_argument("--slide", type=Path, help="small slide, instead of them")
    parser.add_argument("--checkpoint", type=Path, help="encoder of its patches")
    parser.add_argument("--patches", type=int, default=10_000, help="read from the slide")
    args = parser.parse_args()
    if not args.features and not (args.slide and args.checkpoint):
        parser.error("give --features FOLDER, or --slide SLIDE --checkpoint CHECKPOINT")
    return args


def _of_files(folder: Path) -> np.ndarray:
    from histo_simclr.maps import feature_files

    return np.concatenate(
        [feature_files.read(file).features for file in feature_files.find(folder)]
    )


def _of_slide(slide: Path, checkpoint: Path, count: int) -> np.ndarray:
    """(n, D) float32 of n ≈ count patches on a regular grid."""
    from histo_simclr import load_encoder
    from histo_simclr.slides.reader import open_slide

    with open_slide(slide) as opened:
        pixels = opened.thumbnail(MPP, max_pixels=50_000_000)
    tall, wide = pixels.shape[0] - PX, pixels.shape[1] - PX
    step = max(1, int(np.sqrt(tall * wide / count)))
    patches = np.lib.stride_tricks.sliding_window_view(pixels, (PX, PX), axis=(0, 1))
    patches = patches[::step, ::step].transpose(0, 1, 3, 4, 2).reshape(-1, PX, PX, 3)
    return load_encoder(checkpoint)(patches)


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
        metric="l2sq",
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
    index = hnswlib.Index(space="l2", dim=gallery.shape[1])
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
