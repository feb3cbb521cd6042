"""Three lines that load an export in its own ecosystem, printed when it is written.

Every example says how its input is made. `patches` is (N, px, px, 3) uint8, RGB, in all of them,
and `features` (N, D). The tests run them as they are printed.
"""

from pathlib import Path

from histo_simclr.provenance import Provenance

# Of files, by habit; folders have none.
SUFFIXES = {"torch": "pth", "safetensors": "safetensors", "npz": "npz", "onnx": "onnx"}
_TORCH_INPUT = "(torch.tensor(patches).permute(0, 3, 1, 2) / 255 - mean) / std"
_TEMPLATES = {
    "torch": """\
import torch, torchvision; encoder = torchvision.models.{arch}(); encoder.fc = torch.nn.Identity()
encoder.load_state_dict(torch.load({out!r}, weights_only=True)); encoder.eval()
{statistics}; features = encoder({torch_input})""",
    "safetensors": """\
import torch, torchvision, safetensors.torch; encoder = torchvision.models.{arch}()
encoder.fc = torch.nn.Identity(); safetensors.torch.load_model(encoder, {out!r}); encoder.eval()
{statistics}; features = encoder({torch_input})""",
    "npz": """\
import histo_simclr
encoder = histo_simclr.load_encoder({out!r})  # numpy.load gives the arrays, torchvision's names
features = encoder(patches)""",
    "timm": """\
import timm, torch, PIL.Image; encoder = timm.create_model({local_dir!r}, pretrained=True).eval()
look = timm.data.create_transform(**timm.data.resolve_data_config({{}}, model=encoder))
features = encoder(torch.stack([look(PIL.Image.fromarray(patch)) for patch in patches]))""",
    "hf": """\
import transformers; looks = transformers.AutoImageProcessor.from_pretrained({out!r})
encoder = transformers.AutoModel.from_pretrained({out!r}).eval()
features = encoder(**looks(list(patches), return_tensors="pt")).pooler_output""",
    "onnx": """\
import numpy, onnxruntime; session = onnxruntime.InferenceSession({out!r})
images = (patches / 255).astype(numpy.float32).transpose(0, 3, 1, 2)  # normalized inside
(features,) = session.run(["features"], {{"images": images}})""",
    "savedmodel": """\
import tensorflow; encoder = tensorflow.saved_model.load({out!r})
images = tensorflow.cast(patches, tensorflow.float32) / 255  # normalized inside
features = encoder(images)["final_avg_pool"]""",
    "jax": """\
import jax, numpy, pathlib; from jax import export; folder = pathlib.Path({out!r})
program = export.deserialize(bytearray((folder / "program.jax").read_bytes()))
features = program.call(dict(numpy.load(folder / "weights.npz")), patches)  # normalized inside""",
}


def example(format_name: str, provenance: Provenance, out: Path) -> str:
    """Three lines of Python; the path is the export's."""
    mean, std = (list(values) for values in (provenance.mean, provenance.std))
    statistics = f"mean, std = torch.tensor({[mean, std]})[:, :, None, None]"
    return _TEMPLATES[format_name].format(
        arch=provenance.arch,
        out=str(out),
        local_dir=f"local-dir:{out}",
        statistics=statistics,
        torch_input=_TORCH_INPUT,
    )
