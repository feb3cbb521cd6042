"""An encoder as a TensorFlow SavedModel: for TF Serving, and wherever TensorFlow runs.

`__call__` and `serving_default` take float32 images in [0, 1], normalize them inside, and give the
features under two names: ours, and the one of Google's SimCLR modules.

The graph is of TensorFlow's own operations. By jax2tf it would hold StableHLO of JAX's version,
which TensorFlow reads only when it is as new: 2.21 refuses that of JAX 0.12.
"""

import contextlib
import gc
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from histo_simclr.errors import InputError
from histo_simclr.model.resnet import BatchNorm, ResNet
from histo_simclr.provenance import Provenance
from histo_simclr.weights import blocks, function
from histo_simclr.weights.tensors import Stored, in_torchs_order

LABEL = Path("assets.extra/histo_simclr.json")  # TensorFlow's place for what it does not read
OUTPUTS = ("features", "final_avg_pool")


def write(encoder: ResNet, provenance: Provenance, label: dict[str, Any], out: Path) -> None:
    """Writes the folder; H = W = px is fixed, the batch is not.

    Args:
      encoder: in eval mode.
      provenance: its px and statistics.
      label: `label.label`'s.
      out: folder to make.

    Raises:
      OSError: it cannot be written.
    """
    import tensorflow as tf

    module = _module(encoder, provenance)
    try:
        tf.saved_model.save(module, str(out), signatures={"serving_default": module.__call__})
    except tf.errors.OpError as error:
        raise OSError(None, str(error.message).splitlines()[0], str(out)) from error
    del module
    gc.collect()  # its functions and variables hold each other, and the weights
    (out / LABEL).parent.mkdir()
    (out / LABEL).write_text(json.dumps(label), encoding="utf-8")


def features_of(path: Path, patches: np.ndarray) -> np.ndarray:
    """What TensorFlow computes.

    Args:
      path: folder of `write`.
      patches: (N, H, W, 3) uint8; resized to the program's px where theirs differs.

    Returns:
      (N, num_features) float32.

    Raises:
      InputError: TensorFlow does not take the folder.
    """
    import tensorflow as tf

    try:
        served = tf.saved_model.load(str(path)).signatures["serving_default"]
    except Exception as error:  # KeyError, OSError, ValueError, tf.errors…: whatever is torn
        reason = str(error).strip().splitlines()[0][:200]
        raise InputError(
            f"TensorFlow does not take it: {reason}", where=path, way_out="export it anew"
        ) from error
    px = served.structured_input_signature[1]["images"].shape[1]
    each = function.pictures(patches, px)
    return np.concatenate([served(tf.constant(images))[OUTPUTS[0]].numpy() for images in each])


def stored_of(path: Path) -> dict[str, Stored]:
    """The encoder's tensors under torchvision's names, read without running the program.

    Raises:
      InputError: the folder is damaged, or holds no variables; also by what is returned, when read.
    """
    import tensorflow as tf

    before, after = "tensors/", "/.ATTRIBUTES/VARIABLE_VALUE"
    with _refusing_torn(path):
        reader = tf.train.load_checkpoint(os.path.join(path, "variables", "variables"))
        shapes, dtypes = reader.get_variable_to_shape_map(), reader.get_variable_to_dtype_map()

    def stored(key: str) -> Stored:
        def read() -> np.ndarray:
            with _refusing_torn(path):
                return reader.get_tensor(key)

        return in_torchs_order(Stored(tuple(shapes[key]), dtypes[key].name, read))

    # It doubles the dots.
    return {
        key[len(before) : -len(after)].replace("..", "."): stored(key)
        for key in shapes
        if key.startswith(before)
    }


@contextlib.contextmanager
def _refusing_torn(path: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # tf.errors.OpError, and IndexError where the file ends too early
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:150]
        raise InputError(
            f"cannot be read: {reason}", where=path, way_out="get the folder anew"
        ) from error


def _module(encoder: ResNet, provenance: Provenance) -> Any:
    import tensorflow as tf

    mean, std = (tf.constant(values, tf.float32) for values in (provenance.mean, provenance.std))
    module = tf.Module()
    module.tensors = {
        name: tf.Variable(np.asarray(each)) for name, each in function.tensors(encoder)
    }
    side = tf.TensorSpec([None, provenance.px, provenance.px, 3], tf.float32, name="images")

    @tf.function(input_signature=[side], autograph=False)
    def call(images: tf.Tensor) -> dict[str, tf.Tensor]:
        features = _features((images - mean) / std, provenance.arch, module.tensors)
        return dict.fromkeys(OUTPUTS, features)

    module.__call__ = call
    return module


def _features(x: Any, arch: str, tensors: Mapping[str, Any]) -> Any:
    """(B, px, px, 3) normalized → (B, num_features), as tf.Tensor."""
    import tensorflow as tf

    x = tf.nn.relu(_layer(x, blocks.STEM, tensors))
    # Padding with 0 is padding with -inf behind a ReLU.
    x = tf.nn.max_pool2d(_padded(x, 1), 3, 2, "VALID")
    for block in blocks.of_arch(arch):
        y = _layer(x, block.layers[0], tensors)
        for layer in block.layers[1:]:
            y = _layer(tf.nn.relu(y), layer, tensors)
        shortcut = _layer(x, block.shortcut, tensors) if block.shortcut else x
        x = tf.nn.relu(y + shortcut)
    return tf.reduce_mean(x, (1, 2))


def _layer(x: Any, layer: blocks.Layer, tensors: Mapping[str, Any]) -> Any:
    import tensorflow as tf

    kernel = tensors[f"{layer.conv}.weight"]
    x = tf.nn.conv2d(_padded(x, layer.side // 2), kernel, layer.stride, "VALID")
    leaves = ("running_mean", "running_var", "bias", "weight")
    norm = (tensors[f"{layer.norm}.{leaf}"] for leaf in leaves)
    return tf.nn.batch_normalization(x, *norm, variance_epsilon=BatchNorm.epsilon)


def _padded(x: Any, border: int) -> Any:
    # Not TensorFlow's SAME, which pads even sides on one side only at stride 2.
    import tensorflow as tf

    return tf.pad(x, ((0, 0), (border, border), (border, border), (0, 0))) if border else x
