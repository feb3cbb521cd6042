"""Slides to features: how busy the encoder is, and against a loop of PyTorch as TRIDENT has it.

python docs/embed_speed.py busy                       share of the time, by number of workers
python docs/embed_speed.py against --python PYTHON    the same places by embed_peer.py, in turns

A ResNet-18 that has not learned: time does not depend on weights. Patches of 224 px at 0.5 µm/px of
the slide in tests/slides, its JPEG tiles side by side 6 × 4 times, as in slide_speed.py. Files are
in the page cache. `--folder` says where 100 MB may lie meanwhile.
"""

import argparse
import json
import statistics
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
import slide_speed

import histo_simclr
from histo_simclr import checkpoint, fingerprint, provenance, state
from histo_simclr import mesh as meshes
from histo_simclr.model.simclr import SimCLR
from histo_simclr.weights import names

ACROSS, DOWN = 6, 4
ROUNDS = 3  # the cases of a table take turns; medians are shown
PX, MPP = 224, 0.5
PEER = Path(__file__).with_name("embed_peer.py")
PEER_BATCHES = ((1, 64), (2, 64))  # workers and batch sizes that the loop is tried with


def main() -> None:
    """Runs one case."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("case", choices=["busy", "against"])
    parser.add_argument("--python", default="python", help="of an environment that has PyTorch")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--folder", type=Path, help="where temporary files go")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        folder = Path(name)
        slide_speed.ACROSS, slide_speed.DOWN = ACROSS, DOWN
        slide = slide_speed.repeated_slide(folder / "slide.svs")
        encoder = untrained(folder / "encoder")
        if args.case == "busy":
            busy(folder, slide, encoder, args.rounds)
        else:
            against(folder, slide, encoder, args.python, args.rounds)


def untrained(folder: Path) -> Path:
    """The checkpoint of a ResNet-18 before its first step."""
    split = state.init(
        lambda rngs: SimCLR("resnet18", hidden=8, out=8, rngs=rngs),
        optax.sgd(0.1),
        seed=1,
        sharding=meshes.replicated(meshes.make()),
    )
    told = {"arch": "resnet18", "hidden": 8, "out": 8, "px": PX, "mpp": (MPP,), "revision": ""}
    looks = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
    source = provenance.Provenance(**told, **looks, mix={}, config={}, versions={})
    saved = checkpoint.Checkpoints(folder, keep=1, keep_every=0)
    features = fingerprint.of_training(split.arrays[0]["encoder"], source)
    saved.save(0, split.arrays, source, features=features)
    saved.close()
    return folder


def embedded(folder: Path, slide: Path, encoder: Path, **options: Any) -> dict[str, Any]:
    """What `histo_simclr.embed` says of a run into a new folder."""
    out = tempfile.mkdtemp(dir=folder)
    return histo_simclr.embed_slides(slide, encoder, out, **options)


def busy(folder: Path, slide: Path, encoder: Path, rounds: int) -> None:
    """Busy share and seconds by number of workers."""
    cases = (1, 2)
    taken: dict[int, list[dict[str, Any]]] = {workers: [] for workers in cases}
    for _ in range(rounds):
        for workers in cases:
            taken[workers].append(embedded(folder, slide, encoder, workers=workers))
    rows = []
    for workers, runs in taken.items():
        seconds = {
            name: statistics.median(run["seconds"][name] for run in runs)
            for name in runs[0]["seconds"]
        }
        patches = runs[0]["patches"]
        share = statistics.median(run["busy"] for run in runs)
        rows.append([workers, f"{patches:,}", f"{share:.3f}", f"{seconds['wall']:.1f} s"])
        rows[-1] += [f"{patches / seconds['wall']:.1f}", f"{seconds['read']:.1f} s"]
        rows[-1] += [f"{seconds['write']:.2f} s"]
    slide_speed.table(
        "workers|patches|encoder busy|wall, without compiling|patches/s|reading, all workers"
        "|writing",
        rows,
    )


def against(folder: Path, slide: Path, encoder: Path, python: str, rounds: int) -> None:
    """Seconds of the same places, ours and the loop's, in turns; the loop at its best."""
    network, _, _ = checkpoint.load_encoder(encoder)
    np.savez(folder / "weights.npz", **names.to_torch(network))
    done = embedded(folder, slide, encoder)
    features = next(Path(done["features"]).glob("*.h5"))
    ours, theirs = [], {case: [] for case in PEER_BATCHES}
    for _ in range(rounds):
        ours.append(embedded(folder, slide, encoder)["seconds"]["wall"])
        for workers, batch in PEER_BATCHES:
            command = [python, PEER, slide, features, folder / "weights.npz", workers, batch]
            run = subprocess.run([*map(str, command)], check=True, capture_output=True, text=True)
            theirs[workers, batch].append(json.loads(run.stdout.splitlines()[-1]))
    patches = done["patches"]
    mine = statistics.median(ours)
    rows = [["histo-simclr embed", f"{mine:.1f} s", f"{patches / mine:.1f}", "", ""]]
    for (workers, batch), runs in theirs.items():
        seconds = statistics.median(run["seconds"] for run in runs)
        rows.append([f"loop, {workers} workers, batches of {batch}", f"{seconds:.1f} s"])
        rows[-1] += [f"{patches / seconds:.1f}", f"{seconds / mine:.2f}"]
        rows[-1].append(f"{runs[0]['cosine']:.5f}")
    slide_speed.table(
        f"{patches:,} patches|wall|patches/s|embed is so many times as fast"
        "|smallest cosine of a feature to ours",
        rows,
    )
    print(f"\n{jax.__version__=} {jax.default_backend()=}")


if __name__ == "__main__":
    main()
