"""An encoder as a JAX program that runs without our code: uint8 patches in, features out.

A folder of the program (`jax.export`: portable, of one version for CPU, CUDA and TPU), its weights,
and three lines that say how to call it. Resizing and normalization are inside.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax import export

from histo_simclr.errors import InputError
from histo_simclr.model.resnet import ResNet
from histo_simclr.provenance import Provenance
from histo_simclr.views import compose
from histo_simclr.weights import function, npz_file

PROGRAM, WEIGHTS, LABEL, SUMS = "program.jax", "weights.npz", "label.json", "SHA256SUMS"
PLATFORMS = ("cpu", "cuda", "tpu")

README = """# {arch}: patches in, features out

```python
import jax, numpy
from jax import export

program = export.deserialize(bytearray(open("program.jax", "rb").read()))
weights = jax.device_put(dict(numpy.load("weights.npz")))
features = jax.jit(program.call)(weights, patches)
```

`patches`: (N, H, W, 3) uint8, RGB, of {mpp}; resized to {px} px and normalized inside.
`features`: (N, {width}) float32. Runs on {platforms}.

Written by jax {version}. JAX promises to run a program with its releases of the next six months;
after that, export it anew, or take `weights.npz`, which holds torchvision's names, with kernels as
(height, width, in, out).
`label.json` says what the encoder saw; `sha256sum -c SHA256SUMS` checks the files.
"""


def write(encoder: ResNet, provenance: Provenance, label: dict[str, Any], out: Path) -> None:
    """Writes the folder; patches may be of any number and size.

    Args:
      encoder: in eval mode.
      provenance: its px and statistics.
      label: `label.label`'s.
      out: folder to make.

    Raises:
      OSError: it cannot be written.
    """
    mpp = " or ".join(f"{each:g}" for each in provenance.mpp if each) or "unknown"
    readme = README.format(
        arch=provenance.arch,
        mpp=f"{mpp} µm/px",
        px=provenance.px,
        width=encoder.num_features,
        platforms=", ".join(PLATFORMS),
        version=jax.__version__,
    )
    out.mkdir()
    (out / PROGRAM).write_bytes(_program(provenance))
    arrays = ((name, np.asarray(each)) for name, each in function.tensors(encoder))
    npz_file.write(out / WEIGHTS, arrays)
    (out / LABEL).write_text(json.dumps(label), encoding="utf-8")
    (out / "README.md").write_text(readme, encoding="utf-8")
    sums = [f"{_sha256(out / name)}  {name}\n" for name in (PROGRAM, WEIGHTS, LABEL)]
    (out / SUMS).write_text("".join(sums), encoding="utf-8")


def features_of(path: Path, patches: np.ndarray) -> np.ndarray:
    """What the program computes on JAX's default device.

    Args:
      path: folder of `write`.
      patches: (N, H, W, 3) uint8, of any side.

    Returns:
      (N, num_features) float32.

    Raises:
      InputError: a file is missing or has changed.
    """
    _check(path)
    program = export.deserialize(bytearray((path / PROGRAM).read_bytes()))
    with np.load(path / WEIGHTS) as stored:
        weights = {name: jax.device_put(stored[name]) for name in stored.files}
    call = jax.jit(program.call)
    return np.concatenate([np.asarray(call(weights, patch[None])) for patch in patches])


def _program(provenance: Provenance) -> bytes:
    encode = function.of_tensors(provenance.arch)
    looks = {"px": provenance.px, "mean": provenance.mean, "std": provenance.std}

    def program(tensors: dict[str, jax.Array], patches: jax.Array) -> jax.Array:
        return encode(tensors, compose.plain_view(patches, **looks))

    shapes = function.shapes(provenance.arch)
    weights = {name: jax.ShapeDtypeStruct(shape, np.float32) for name, shape in shapes.items()}
    sides = export.symbolic_shape("patches, height, width, 3")
    with function.without_places():
        lowered = export.export(jax.jit(program), platforms=PLATFORMS)(
            weights, jax.ShapeDtypeStruct(sides, np.uint8)
        )
    return bytes(lowered.serialize())


def _check(path: Path) -> None:
    """Before anything is run: a program with a flipped bit may compute, or end the process."""
    try:
        lines = (path / SUMS).read_text(encoding="utf-8").splitlines()
        wanted = dict(reversed(line.split("  ", 1)) for line in lines)
        changed = [
            name for name in (PROGRAM, WEIGHTS, LABEL) if _sha256(path / name) != wanted[name]
        ]
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"no program of histo_simclr: {error}",
            where=path,
            way_out="give a folder that histo-simclr export --format jax wrote",
        ) from error
    if changed:
        raise InputError(
            f"{' and '.join(changed)} changed since it was written",
            where=path,
            way_out="get the folder anew",
        )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
