"""Every export, loaded by its own ecosystem with the very lines that `export` prints.

Each in a process of its own, which has none of our code where the example needs none: torchvision
after TensorFlow ends a process, and what is loaded elsewhere must not lean on what is loaded here.
Packages that are not in the main environment are in that of HISTO_SIMCLR_EXTRA=ecosystem.
"""

import dataclasses
import importlib.util
import subprocess
import sys

import numpy as np
import pytest

from histo_simclr import checkpoint, encode
from histo_simclr import mesh as meshes
from histo_simclr.weights import exporting, importing, names, usage

# What each example needs; it must run without what is not named.
NEEDS = {
    "torch": ("torch", "torchvision"),
    "safetensors": ("torch", "torchvision", "safetensors"),
    "npz": ("histo_simclr", "jax"),
    "timm": ("torch", "timm"),
    "hf": ("torch", "timm", "transformers"),
    "onnx": ("onnx", "onnxruntime"),
    "savedmodel": ("tensorflow", "jax"),  # which TensorFlow itself imports where it is
    "jax": ("jax",),
}
RESIZE = ("timm", "hf")  # whose examples take patches of any size
OURS = {"histo_simclr", "jax"}
TOLERANCE = 1e-4  # of the largest feature

PROGRAM = """
import sys
import numpy
{inference}
found = {{}}
for name, patches in numpy.load({patches!r}).items():
    exec({example!r})
    found[name] = numpy.asarray(features)
loaded = {{name.split(".")[0] for name in sys.modules}}
assert not loaded & {foreign!r}, loaded & {foreign!r}
numpy.savez({features!r}, **found)
"""


@pytest.fixture(scope="module")
def tissue(cmu):
    """tissue(side): (12, side, side, 3) uint8 of an H&E slide."""
    import openslide

    def read(side: int) -> np.ndarray:
        places = [(850 + 100 * column, 1000 + 300 * row) for row in range(3) for column in range(4)]
        with openslide.OpenSlide(str(cmu)) as slide:
            tiles = [slide.read_region(place, 0, (side, side)).convert("RGB") for place in places]
        return np.stack([np.asarray(tile) for tile in tiles])

    return read


@pytest.fixture(scope="module")
def exported(looks, made_up, tmp_path_factory):
    """exported(arch, format): (file or folder, network, provenance); made once."""
    sources, made = {}, {}

    def make(arch: str, format_name: str):
        if arch not in sources:
            folder = tmp_path_factory.mktemp(arch)
            provenance = dataclasses.replace(looks, arch=arch)
            place = checkpoint.write_encoder(folder / "source", made_up(arch), provenance)
            sources[arch] = place, checkpoint.load_encoder(place)[0], provenance
        place, network, provenance = sources[arch]
        if (arch, format_name) not in made:
            # A suffix, because onnxruntime and torch are used to one.
            out = place.parent / f"{format_name}.{usage.SUFFIXES.get(format_name, '')}".rstrip(".")
            made[arch, format_name] = exporting.export(place, format_name, out)
        return made[arch, format_name], network, provenance

    return make


def features_of(network, provenance, patches):
    program = encode.encoding(
        network,
        px=provenance.px,
        mean=provenance.mean,
        std=provenance.std,
        mesh=meshes.make(1),
    )
    return np.asarray(program(patches))


def run(example: str, format_name: str, tmp_path, **patches: np.ndarray) -> dict[str, np.ndarray]:
    np.savez(tmp_path / "patches.npz", **patches)
    needs = NEEDS[format_name]
    # numpy.asarray takes no tensor that gradients pass through.
    program = PROGRAM.format(
        patches=str(tmp_path / "patches.npz"),
        features=str(tmp_path / "features.npz"),
        inference="import torch; torch.set_grad_enabled(False)" if "torch" in needs else "",
        example=example,
        foreign=OURS - set(needs),
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return dict(np.load(tmp_path / "features.npz"))


def skip_without(*packages: str) -> None:
    # Not by importorskip: the packages must not be imported into this process.
    for name in packages:
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not in this environment")


def difference(found, expected) -> float:
    assert found.shape == expected.shape
    assert found.dtype == np.float32
    return np.abs(found - expected).max() / np.abs(expected).max()


@pytest.mark.parametrize(
    ("arch", "format_name"), [("resnet18", name) for name in NEEDS] + [("resnet50", "timm")]
)
def test_the_lines_that_export_prints_give_the_checkpoints_features(
    exported, tissue, tmp_path, arch, format_name
):
    skip_without(*NEEDS[format_name])
    out, network, provenance = exported(arch, format_name)
    patches = {"same": tissue(64)} | ({"large": tissue(90)} if format_name in RESIZE else {})
    found = run(usage.example(format_name, provenance, out), format_name, tmp_path, **patches)
    expected = {name: features_of(network, provenance, each) for name, each in patches.items()}
    assert difference(found["same"], expected["same"]) < TOLERANCE
    if format_name in RESIZE:
        # PIL resizes to whole levels of 255: near, and far from what a crop would give.
        cropped = features_of(network, provenance, patches["large"][:, 13:77, 13:77])
        assert difference(found["large"], expected["large"]) < 0.1 * difference(
            cropped, expected["large"]
        )


@pytest.mark.parametrize("format_name", ["torch", "safetensors", "npz", "timm", "hf", "onnx"])
def test_what_is_imported_again_is_the_checkpoint_to_the_bit(exported, tmp_path, format_name):
    skip_without(*(["onnx", "onnxruntime"] if format_name == "onnx" else []))
    out, network, provenance = exported("resnet18", format_name)
    place = importing.import_weights(out, tmp_path / "again")
    again, said, _ = checkpoint.load_encoder(place)
    assert (said.px, said.mean, said.std) == (provenance.px, provenance.mean, provenance.std)
    assert (said.mpp, said.mix) == (provenance.mpp, provenance.mix)
    found, expected = names.to_torch(again), names.to_torch(network)
    assert list(found) == list(expected)
    assert all(found[name].tobytes() == array.tobytes() for name, array in expected.items())


HUB = """
import huggingface_hub
card = huggingface_hub.ModelCard.load({readme!r})
(result,) = card.data.eval_results or [None]
print(card.data.library_name, card.data.pipeline_tag, card.data.license)
print(result.dataset_name, result.metric_type, result.metric_value, result.task_type)
print(huggingface_hub.ModelCard(str(card)).data.to_dict() == card.data.to_dict())
"""


def test_the_hubs_own_reader_finds_the_results_in_the_card(looks, tmp_path):
    skip_without("huggingface_hub")
    from histo_simclr.weights import model_card
    from histo_simclr.weights.card_results import Result

    measured = Result("pcam", "linear", "x", True, {"macro_f1": (0.8, 0.75, 0.85)}, "1", ())
    label = {"model_sha256": "5ee", "exported_by": "histo-simclr"}
    (tmp_path / "README.md").write_text(model_card.full(looks, label, results=[measured]))
    program = HUB.format(readme=str(tmp_path / "README.md"))
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.splitlines() == [
        "timm image-feature-extraction other",
        "pcam f1 0.8 image-classification",
        "True",
    ], done.stderr
