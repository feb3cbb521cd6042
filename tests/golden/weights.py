"""Deterministic weights and inputs, numpy only: the recipe behind the ResNet reference values.

Copied from the scripts that made resnet_eval.npz and resnet18_train.npz with torchvision; layout of
lines and a strict zip aside it is unchanged, and the digests in resnet_info.json prove it.

A tensor depends on its own name and on the seed alone, never on the order of generation:

    rng  = numpy.random.default_rng([seed, zlib.crc32(name.encode("ascii"))])
    unit = (rng.random(shape) - 0.5) * sqrt(12)        # float64, mean 0, variance 1, C order

`name` is torchvision's parameter name, `shape` torchvision's shape (conv OIHW, linear [out, in]).
What becomes of `unit` depends on the kind of tensor; each result is rounded once, to float32:

    convolution weight        unit * sqrt(2 / (O * kh * kw))
    batch norm weight         1 + 0.25 * unit
    batch norm bias           0.1 * unit
    linear weight             unit / sqrt(fan_in)
    linear bias               0.1 * unit
    running_mean, running_var 0 and 1 (trained values are stored in the vector files)
    num_batches_tracked       0 (int64)

`random()` of PCG64 has given the same stream since numpy 1.17; the digests in
resnet_info.json let a test prove that it still does.
"""

import hashlib
import zlib

import numpy as np

STAGES = {
    "resnet18": ("basic", (2, 2, 2, 2)),
    "resnet34": ("basic", (3, 4, 6, 3)),
    "resnet50": ("bottleneck", (3, 4, 6, 3)),
    "resnet101": ("bottleneck", (3, 4, 23, 3)),
}


def _batch_norm(prefix, width):
    for leaf in ("weight", "bias", "running_mean", "running_var"):
        yield f"{prefix}.{leaf}", (width,)
    yield f"{prefix}.num_batches_tracked", ()


def resnet_shapes(arch):
    """Names and shapes of torchvision's `arch` without its `fc`, in torchvision's order."""
    kind, blocks = STAGES[arch]
    expansion = 1 if kind == "basic" else 4
    shapes = {"conv1.weight": (64, 3, 7, 7), **dict(_batch_norm("bn1", 64))}
    fan_in = 64
    for stage, (width, count) in enumerate(zip((64, 128, 256, 512), blocks, strict=True), start=1):
        for block in range(count):
            prefix = f"layer{stage}.{block}"
            out = width * expansion
            if kind == "basic":
                convs = [(width, fan_in, 3, 3), (width, width, 3, 3)]
            else:
                convs = [(width, fan_in, 1, 1), (width, width, 3, 3), (out, width, 1, 1)]
            for i, shape in enumerate(convs, start=1):
                shapes[f"{prefix}.conv{i}.weight"] = shape
                shapes.update(_batch_norm(f"{prefix}.bn{i}", shape[0]))
            if block == 0 and (fan_in != out or stage > 1):
                shapes[f"{prefix}.downsample.0.weight"] = (out, fan_in, 1, 1)
                shapes.update(_batch_norm(f"{prefix}.downsample.1", out))
            fan_in = out
    return shapes


def tensor(name, shape, seed):
    """One tensor of the recipe, in torchvision's layout."""
    leaf = name.rsplit(".", 1)[1]
    if leaf == "num_batches_tracked":
        return np.zeros(shape, np.int64)
    if leaf == "running_mean":
        return np.zeros(shape, np.float32)
    if leaf == "running_var":
        return np.ones(shape, np.float32)
    rng = np.random.default_rng([seed, zlib.crc32(name.encode("ascii"))])
    unit = (rng.random(shape) - 0.5) * np.sqrt(12.0)
    if len(shape) == 4:
        value = unit * np.sqrt(2.0 / (shape[0] * shape[2] * shape[3]))
    elif len(shape) == 2:
        value = unit / np.sqrt(shape[1])
    elif leaf == "weight":
        value = 1.0 + 0.25 * unit
    else:
        value = 0.1 * unit
    return value.astype(np.float32)


def resnet(arch, seed=2011):
    """The recipe's state dict of `arch`: name -> array, torchvision's names and layouts."""
    return {name: tensor(name, shape, seed) for name, shape in resnet_shapes(arch).items()}


def digest(arrays):
    """sha256 over the arrays' names, shapes and bytes, in sorted order of names."""
    h = hashlib.sha256()
    for name in sorted(arrays):
        a = np.asarray(arrays[name], order="C")
        h.update(f"{name}:{a.dtype.str}:{list(a.shape)}\n".encode())
        h.update(a.tobytes())
    return h.hexdigest()


def images(seed, count=2, side=224, block=16):
    """uint8 [count, side, side, 3]: coarse blocks (3/4) over pixel noise (1/4).

    So that images differ after pooling.
    """
    rng = np.random.default_rng([seed, zlib.crc32(b"images")])
    cells = side // block
    coarse = np.floor(rng.random((count, cells, cells, 3)) * 256).astype(np.uint16)
    fine = np.floor(rng.random((count, side, side, 3)) * 256).astype(np.uint16)
    return ((3 * coarse.repeat(block, 1).repeat(block, 2) + fine) // 4).astype(np.uint8)


def normalise(pixels):
    """uint8 -> float32 in [-1, 1]: (pixels / 255 - 0.5) / 0.5, as float32(float64 value)."""
    return (pixels.astype(np.float64) / 127.5 - 1.0).astype(np.float32)
