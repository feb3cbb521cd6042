"""An encoder as a TensorFlow SavedModel, by jax2tf: for TF Serving, and wherever TensorFlow runs.

`__call__` and `serving_default` take float32 images in [0, 1], normalize them inside, and give the
features under two names: ours, and the one of Google's SimCLR modules. The function is compiled by
XLA on whatever device it meets; the weights are variables under torchvision's names.
"""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from histo_simclr.errors import InputError
from histo_simclr.model.resnet import ResNet
from histo_simclr.provenance import Provenance
from histo_simclr.weights import function, names

LABEL = Path("assets.extra/histo_simclr.json")  # TensorFlow's place for what it does not read
OUTPUTS = ("features", "final_avg_pool")
PLATFORMS = ("cpu", "cuda", "tpu")


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
        with function.without_places():  # traced when it is saved
            tf.saved_model.save(module, str(out), signatures={"serving_default": module.__call__})
    except tf.errors.OpError as error:
        raise OSError(None, str(error.message).splitlines()[0], str(out)) from error
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
    chunks = function.pictures(patches, px)
    return np.concatenate([served(tf.constant(images))[OUTPUTS[0]].numpy() for images in chunks])


def tensors_of(path: Path) -> dict[str, np.ndarray]:
    """The encoder's tensors under torchvision's names, read without running the program."""
    import tensorflow as tf

    reader = tf.train.load_checkpoint(os.path.join(path, "variables", "variables"))
    before, after = "tensors/", "/.ATTRIBUTES/VARIABLE_VALUE"
    stored = [key for key in reader.get_variable_to_shape_map() if key.startswith(before)]
    names = {key: key[len(before) : -len(after)].replace("..", ".") for key in stored}  # escaped
    return {name: reader.get_tensor(key) for key, name in names.items()}


def _module(encoder: ResNet, provenance: Provenance) -> Any:
    import tensorflow as tf
    from jax.experimental import jax2tf

    px = provenance.px
    mean, std = (
        np.asarray(values, np.float32).reshape(1, 1, 1, 3)
        for values in (provenance.mean, provenance.std)
    )
    encode = function.of_tensors(provenance.arch)
    # Without gradients: this one is for serving, and its batch statistics stand still.
    program = jax2tf.convert(
        lambda tensors, images: encode(tensors, (images - mean) / std),
        polymorphic_shapes=[None, f"batch, {px}, {px}, 3"],
        with_gradient=False,
        native_serialization_platforms=PLATFORMS,
    )
    module = tf.Module()
    module.tensors = {
        name: tf.Variable(array, trainable=False) for name, array in names.one_by_one(encoder)
    }
    images = tf.TensorSpec([None, px, px, 3], tf.float32, name="images")

    @tf.function(input_signature=[images], autograph=False)
    def call(images: tf.Tensor) -> dict[str, tf.Tensor]:
        return dict.fromkeys(OUTPUTS, program(dict(module.tensors), images))

    module.__call__ = call
    return module
