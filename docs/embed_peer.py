"""One slide by a loop as TRIDENT has it: PyTorch, torchvision, OpenSlide, a DataLoader.

PYTHON docs/embed_peer.py SLIDE FEATURES WEIGHTS WORKERS BATCH

Reads the places and µm/px of FEATURES (a file of `histo-simclr embed`), as TRIDENT reads its own
(trident/wsi_objects/WSI.py, extract_patch_features): a dataset that reads a region of the nearest
finer level and resizes it by Pillow, ToTensor and Normalize, a DataLoader, `inference_mode`.
WEIGHTS is an npz of torchvision's names. Prints the seconds of the loop, workers' start included,
and how far its features are from those in FEATURES, as JSON.
"""

import json
import sys
import time

import h5py
import numpy as np
import openslide
import torch
import torchvision
from PIL import Image


class Patches(torch.utils.data.Dataset):
    """The patches of a slide at given places."""

    def __init__(self, path, coords, side, px, transform):
        self._path, self._coords, self._side, self._px = path, coords, side, px
        self._transform, self._slide = transform, None

    def __len__(self):
        return len(self._coords)

    def __getitem__(self, number):
        if self._slide is None:  # each worker opens the slide itself
            self._slide = openslide.OpenSlide(self._path)
        level = self._slide.get_best_level_for_downsample(self._side / self._px)
        size = round(self._side / self._slide.level_downsamples[level])
        place = tuple(self._coords[number].tolist())
        region = self._slide.read_region(place, level, (size, size)).convert("RGB")
        return self._transform(region.resize((self._px, self._px), Image.Resampling.BICUBIC))


def main() -> None:
    """Runs the loop."""
    slide, features, weights, workers, batch = sys.argv[1:]
    with h5py.File(features, "r") as file:
        coords, expected = file["coords"][:], file["features"][:]
        told, looks = dict(file["coords"].attrs), dict(file["features"].attrs)
    transform = torchvision.transforms.Compose(
        [
            torchvision.transforms.ToTensor(),
            torchvision.transforms.Normalize(looks["mean"].tolist(), looks["std"].tolist()),
        ]
    )
    model = torchvision.models.resnet18()
    model.fc = torch.nn.Identity()
    tensors = {name: torch.from_numpy(array) for name, array in np.load(weights).items()}
    model.load_state_dict(tensors, strict=True)
    model.eval()
    side, px = int(told["patch_size_level0"]), int(told["patch_size"])
    patches = Patches(slide, coords, side, px, transform)
    loader = torch.utils.data.DataLoader(patches, int(batch), num_workers=int(workers))
    start = time.perf_counter()
    with torch.inference_mode():
        found = np.concatenate([model(images).numpy() for images in loader])
    seconds = time.perf_counter() - start
    similar = (found * expected).sum(1) / np.linalg.norm(found, axis=1)
    similar /= np.linalg.norm(expected, axis=1)
    print(json.dumps({"seconds": seconds, "patches": len(found), "cosine": float(similar.min())}))


if __name__ == "__main__":
    main()
