"""What `export` and `import` of a ResNet-50 take: seconds, and peak memory over the weights' size.

  python docs/weights_cost.py

Each format in a process of its own, through the functions that the commands call: reading the
checkpoint, both fingerprints, writing, reading again. Memory is the peak less what the process held
before, with its libraries imported; the weights' size is that of the float32 tensors. "Writing" is
the writer alone, over the encoder that it is given. Linux, for /proc.
"""

import gc
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ARCH, PX = "resnet50", 224
LIBRARIES = {
    "onnx": ("onnx", "onnxruntime"),
    "savedmodel": ("tensorflow",),
    "safetensors": ("safetensors",),
}


def main() -> None:
    """Measures each format and prints a Markdown table."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        child("make", "", folder)
        from histo_simclr.weights.exporting import FORMATS

        print(
            "| format | export | peak | of it writing | import | peak |\n|---|---|---|---|---|---|"
        )
        for name in FORMATS:
            export, writing = child("export", name, folder), child("write", name, folder)
            cells = [name, f"{export['seconds']:.1f} s", f"{export['weights']:.1f}×"]
            cells += [f"{writing['seconds']:.1f} s, {writing['weights']:.1f}×"]
            taken = child("import", name, folder)
            cells += [f"{taken['seconds']:.1f} s", f"{taken['weights']:.1f}×"]
            print(f"| {' | '.join(cells)} |", flush=True)


def child(step: str, name: str, folder: Path) -> dict[str, float]:
    """Runs one step in a new process; what it printed last."""
    command = [sys.executable, __file__, step, name, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def step_of(step: str, name: str, folder: Path) -> None:
    """One step, in a process of its own; prints its cost as JSON."""
    import jax
    from flax import nnx

    from histo_simclr import checkpoint
    from histo_simclr.model.resnet import ResNet
    from histo_simclr.provenance import Provenance
    from histo_simclr.weights import exporting, importing, names
    from histo_simclr.weights import label as labels

    for library in LIBRARIES.get(name, ()):
        __import__(library)
    jax.jit(lambda x: x + 1)(1.0)  # XLA has its threads and arenas then
    size = 4 * sum(map(math.prod, names.shapes(ARCH).values()))
    source, out = folder / "checkpoint", folder / f"{name}.{name}"
    if step == "make":
        encoder = nnx.jit(lambda: ResNet(ARCH, rngs=nnx.Rngs(0)))()
        encoder.eval()
        looks = Provenance(
            ARCH, 0, 0, PX, (0.5,) * 3, (0.5,) * 3, (0.5,), {}, {}, {}, "", {"kind": "pretrained"}
        )
        checkpoint.write_encoder(source, encoder, looks)
        cost = {}
    elif step == "export":
        cost = measured(lambda: exporting.export(source, name, out), size)
    elif step == "import":
        cost = measured(lambda: importing.import_weights(out, folder / f"{name} imported"), size)
    else:
        encoder, looks, _ = checkpoint.load_encoder(source)
        label = labels.label(encoder, looks)
        written = folder / f"{name} written.{name}"
        cost = measured(lambda: exporting.FORMATS[name].write(encoder, looks, label, written), size)
    print(json.dumps(cost))


def measured(work: Callable[[], object], size: int) -> dict[str, float]:
    """Seconds, and the peak of resident memory over what there was, in units of `size` bytes."""
    import ctypes

    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # freed memory would hide what is taken next
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before, start = memory("VmRSS"), time.perf_counter()
    work()
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "weights": (memory("VmHWM") - before) / size}


def memory(field: str) -> int:
    """A field of /proc/self/status, in bytes."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split(f"{field}:")[1].split()[0])


if __name__ == "__main__":
    if len(sys.argv) == 4:
        os.environ.setdefault("JAX_PLATFORMS", "cpu")
        step_of(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
    else:
        main()
