"""Segmentation of a record set with masks, from a random encoder or a checkpoint: one table.

  python docs/segmentation.py RECORDS --out FOLDER [--checkpoint WORKDIR] [--encoder-rate 1] …

Prints the agreement of the test split's masks per class with 95 % intervals over images or groups,
and leaves a picture of the worst and best images in FOLDER.
"""

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import jax
import numpy as np
from flax import nnx

from configs import segment as recipe
from histo_simclr import checkpoint, mesh, pictures, tables
from histo_simclr.evaluate import masked, metrics, overlap, segment, segment_step
from histo_simclr.model.resnet import ResNet


def main() -> None:
    """Learns, predicts, prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("records", help="record set with masks, of the splits train and test")
    add("--out", type=Path, required=True, help="folder for worst_and_best.png")
    add("--checkpoint", help="encoder; without one, a random ResNet-18")
    config = recipe.defaults()
    for name in ("tile", "batch_size", "steps", "encoder_rate", "seed"):
        add(f"--{name.replace('_', '-')}", type=type(config[name]), default=config[name])
    args = parser.parse_args()
    config.update({name: value for name, value in vars(args).items() if name in config})
    train, test, names = masked.open_splits(args.records, "train", "test")
    encoder, pixels = _encoder(args.checkpoint, config.seed)
    settings = config.to_dict()
    share = settings.pop("overlap")
    start = time.perf_counter()
    fitted = segment.fit(
        encoder,
        train.images,
        train.masks,
        num_classes=len(names),
        pixels=pixels,
        mesh=mesh.make(),
        **settings,
    )
    taken = time.perf_counter() - start
    found = segment.probabilities(
        fitted.model,
        test.images,
        pixels=pixels,
        tile=config.tile,
        overlap=share,
        batch_size=config.batch_size,
        mesh=mesh.make(),
    )
    predicted = np.stack([each.argmax(-1) for each in found]).astype(np.uint8)
    counts = overlap.count(test.masks, predicted, num_classes=len(names))
    print(f"{len(train.images)} training and {len(test.images)} test images; {config.steps} steps")
    print(
        f"in {taken:.0f} s; loss {fitted.losses[:5].mean():.2f} → {fitted.losses[-5:].mean():.2f}"
    )
    print("\n".join(_table(counts, names, test)))
    _draw(test, predicted, counts, names, args.out)


def _encoder(path: str | None, seed: int) -> tuple[ResNet, segment_step.Pixels]:
    if path:
        encoder, provenance, _ = checkpoint.load_encoder(path)
        return encoder, segment_step.Pixels(provenance.mean, provenance.std)
    encoder = ResNet("resnet18", rngs=nnx.Rngs(params=seed))
    encoder.eval()
    return encoder, segment_step.Pixels((0.5,) * 3, (0.5,) * 3)


def _table(counts: overlap.Counts, names: list[str], test: masked.Masked) -> list[str]:
    groups = None if test.groups.kind == "example" else test.groups.names
    same = np.zeros(len(test.images), np.int64)
    drawn = metrics.resamples_of(same, groups, resamples=2000, seed=0)
    replicates = overlap.values(counts, np.concatenate(list(drawn)))
    once = overlap.values(counts)
    rows = [["", *names]]
    for name in ("dice", "iou", "object_f1"):
        row = [name]
        for number in range(len(names)):
            low, high = metrics.interval(replicates[name][:, number])
            row.append(f"{once[name][number]:.3f} [{low:.3f}, {high:.3f}]")
        rows.append(row)
    return tables.aligned(rows)


def _draw(
    test: masked.Masked,
    predicted: np.ndarray,
    counts: overlap.Counts,
    names: list[str],
    out: Path,
) -> None:
    scores = overlap.foreground_dice(counts)
    chosen = overlap.worst_and_best(scores, 3)
    out.mkdir(parents=True, exist_ok=True)
    pictures.segmentations(
        test.images[chosen],
        {"truth": test.masks[chosen], "prediction": predicted[chosen]},
        [f"{Path(test.keys[row]).name}\nDice {scores[row]:.2f}" for row in chosen],
        names,
        out / "worst_and_best.png",
    )


if __name__ == "__main__":
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    main()
