"""An encoder as one ONNX file: pixels in [0, 1] in, features out, normalization inside.

Initializers are the encoder's tensors under torchvision's names, and batch normalizations stay
nodes of their own, so that reading them back gives the same bits; what runs the graph folds them.
"""

import importlib
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from histo_simclr.errors import InputError
from histo_simclr.model.resnet import BatchNorm, ResNet
from histo_simclr.provenance import Provenance
from histo_simclr.weights import blocks, function, model_card, names, onnx_file
from histo_simclr.weights.label import KEY

OPSET = 17
IR_VERSION = 8  # what came with opset 17: onnxruntime since 1.12, OpenVINO, TensorRT since 8.5
INPUT, OUTPUT = "images", "features"
_RAW_DATA = 9 << 3 | 2  # tag of TensorProto's field, as those of onnx_file


def write(encoder: ResNet, provenance: Provenance, label: dict[str, Any], out: Path) -> None:
    """Writes the graph; H = W = px is fixed, which FAST and TensorRT ask for, the batch is not.

    Args:
      encoder: in eval mode.
      provenance: its px and statistics.
      label: `label.label`'s, for the metadata.
      out: file to write.

    Raises:
      InputError: the extra `onnx` is not installed.
      OSError: the file cannot be written.
    """
    model = _model(encoder.num_features, provenance, label)
    with out.open("wb") as file:
        _save(model, encoder, file)


def features_of(path: Path, patches: np.ndarray) -> np.ndarray:
    """What onnxruntime computes, on the CPU, of the graph as it is written.

    Args:
      path: file of `write`.
      patches: (N, H, W, 3) uint8; resized to the graph's px where theirs differs.

    Returns:
      (N, num_features) float32.

    Raises:
      InputError: onnxruntime is not installed, or does not take the file.
    """
    onnxruntime = _imported("onnxruntime")
    options = onnxruntime.SessionOptions()
    # Folding layers, as it does by default, holds the weights twice; tests run both ways.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        px = session.get_inputs()[0].shape[-1]
    except Exception as error:  # of onnxruntime's own, without a common base
        reason = str(error).strip().splitlines()[0][:200]
        raise InputError(
            f"onnxruntime does not take it: {reason}", where=path, way_out="export it anew"
        ) from error
    each = (images.transpose(0, 3, 1, 2) for images in function.pictures(patches, px))
    return np.concatenate(
        [session.run([OUTPUT], {INPUT: np.ascontiguousarray(images)})[0] for images in each]
    )


def _model(width: int, provenance: Provenance, label: dict[str, Any]) -> Any:
    """The ModelProto without its initializers."""
    _imported("onnx")
    from onnx import TensorProto, helper

    px = provenance.px
    graph = helper.make_graph(
        list(_nodes(helper.make_node, provenance)),
        provenance.arch,
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["batch", 3, px, px])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["batch", width])],
        doc_string=f"{INPUT}: RGB in [0, 1], not normalized; {OUTPUT}: global average pool",
    )
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="histo-simclr",
        producer_version=label["exported_by"].split()[-1],
    )
    told = {
        "mean": ",".join(map(str, provenance.mean)),
        "std": ",".join(map(str, provenance.std)),
        "mpp": ",".join(str(each) for each in provenance.mpp if each),
        "license": "; ".join(each or "none stated" for each in model_card.licenses(provenance)),
        KEY: json.dumps(label),
    }
    helper.set_model_props(model, told)
    return model


def _nodes(node: Callable[..., Any], provenance: Provenance) -> Iterator[Any]:
    """The network's nodes in order of computation; each is named for what it gives."""
    from onnx import numpy_helper

    for name, values in (("mean", provenance.mean), ("std", provenance.std)):
        value = np.asarray(values, np.float32).reshape(1, 3, 1, 1)
        yield node("Constant", [], [name], name=name, value=numpy_helper.from_array(value))
    yield node("Sub", [INPUT, "mean"], ["centered"], name="centered")
    yield node("Div", ["centered", "std"], ["normalized"], name="normalized")
    yield from _layer_nodes(node, "normalized", blocks.STEM)
    yield node("Relu", [blocks.STEM.norm], ["relu"], name="relu")
    window = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}
    yield node("MaxPool", ["relu"], ["maxpool"], name="maxpool", **window)
    x = "maxpool"
    for block in blocks.of_arch(provenance.arch):
        yield from _block_nodes(node, x, block)
        x = block.name
    yield node("GlobalAveragePool", [x], ["avgpool"], name="avgpool")
    yield node("Flatten", ["avgpool"], [OUTPUT], name=OUTPUT, axis=1)


def _block_nodes(node: Callable[..., Any], x: str, block: blocks.Block) -> Iterator[Any]:
    y = x
    for layer in block.layers:
        yield from _layer_nodes(node, y, layer)
        y = layer.norm
        if layer is not block.layers[-1]:
            y = f"{layer.norm}.relu"
            yield node("Relu", [layer.norm], [y], name=y)
    if block.shortcut:
        yield from _layer_nodes(node, x, block.shortcut)
        x = block.shortcut.norm
    total = f"{block.name}.sum"
    yield node("Add", [y, x], [total], name=total)
    yield node("Relu", [total], [block.name], name=block.name)


def _layer_nodes(node: Callable[..., Any], x: str, layer: blocks.Layer) -> Iterator[Any]:
    conv, norm, side, stride = layer
    window = {"kernel_shape": [side] * 2, "strides": [stride] * 2, "pads": [side // 2] * 4}
    yield node("Conv", [x, f"{conv}.weight"], [conv], name=conv, **window)
    leaves = ("weight", "bias", "running_mean", "running_var")
    inputs = [conv, *(f"{norm}.{leaf}" for leaf in leaves)]
    yield node("BatchNormalization", inputs, [norm], name=norm, epsilon=BatchNorm.epsilon)


def _save(model: Any, encoder: ResNet, file: BinaryIO) -> None:
    """The model with its initializers, one at a time.

    As a ModelProto in memory they would be there twice more, once serialized. The graph says its
    length ahead of what it holds, so that is summed up first.
    """
    graph = model.graph.SerializeToString()
    model.ClearField("graph")
    length = sum(len(_head(name, a.shape)) + a.nbytes for name, a in names.weights_of(encoder))
    file.write(model.SerializeToString() + _field(onnx_file.GRAPH, len(graph) + length) + graph)
    for name, array in names.weights_of(encoder):
        file.write(_head(name, array.shape))
        file.write(np.ascontiguousarray(array, "<f4").data)


def _head(name: str, shape: tuple[int, ...]) -> bytes:
    """What comes before an initializer's values."""
    from onnx import TensorProto

    size = 4 * math.prod(shape)
    described = TensorProto(name=name, dims=shape, data_type=TensorProto.FLOAT).SerializeToString()
    described += _field(_RAW_DATA, size)
    return _field(onnx_file.INITIALIZER, len(described) + size) + described


def _field(tag: int, length: int) -> bytes:
    """A field's tag and length, as Protocol Buffers write them: 7 bits a byte, lowest first."""
    encoded = bytearray([tag])
    while length > 0x7F:
        encoded.append(length & 0x7F | 0x80)
        length >>= 7
    encoded.append(length)
    return bytes(encoded)


def _imported(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise InputError(
            f"needs the package {name}", where="format onnx", way_out="pip install '.[onnx]'"
        ) from error
