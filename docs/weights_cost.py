"""What `export` and `import` of a ResNet-50 take: seconds, and peak memory over the weights' size.

  python docs/weights_cost.py [FORMAT …]

Each format in a process of its own, through the functions that the commands call, and with the
memory that they free given back as the commands do: reading the checkpoint, the fingerprints,
writing, reading again. A ResNet-18 is exported and imported first, so that libraries are loaded;
memory is the peak less what the process holds then, in units of the float32 weights. Linux, for
/proc.
"""

import ctypes
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

ARCH, BEFORE, PX = "resnet50", "resnet18", 224


def main(formats: list[str]) -> None:
    """Measures each format and prints a Markdown table."""
    from histo_simclr.weights.exporting import FORMATS

    print("| format | export | peak | import | peak |\n|---|---|---|---|---|")
    for name in formats or FORMATS:
        cost = measured_apart(name)
        cells = [
            f"{cost[part][unit]}" for part in ("export", "import") for unit in ("s", "weights")
        ]
        print("| {} | {} s | {}× | {} s | {}× |".format(name, *cells), flush=True)


def measured_apart(name: str) -> dict[str, dict[str, float]]:
    """`costs` of one format, in a process of its own."""
    environment = {"JAX_PLATFORMS": "cpu"} | os.environ
    command = [sys.executable, __file__, "--one", name]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def costs(name: str, folder: Path) -> dict[str, dict[str, float]]:
    """Seconds and peak memory of exporting and importing once."""
    from histo_simclr import freed_memory
    from histo_simclr.weights import exporting, importing, names

    def written(arch: str) -> Path:
        return folder / f"{arch} written.{name}"

    def export(arch: str) -> None:
        exporting.export(folder / arch, name, written(arch))

    def import_(arch: str) -> None:
        importing.import_weights(written(arch), folder / f"{arch} imported")

    size = 4 * sum(map(math.prod, names.shapes(ARCH).values()))
    with freed_memory.given_back():
        for arch in (BEFORE, ARCH):
            make(arch, folder / arch)
        export(BEFORE)
        import_(BEFORE)
        return {
            "export": measured(lambda: export(ARCH), size),
            "import": measured(lambda: import_(ARCH), size),
        }


def make(arch: str, out: Path) -> None:
    """Writes a checkpoint of an encoder that was not trained."""
    from flax import nnx

    from histo_simclr import checkpoint
    from histo_simclr.model.resnet import ResNet
    from histo_simclr.provenance import Provenance

    encoder = nnx.jit(lambda: ResNet(arch, rngs=nnx.Rngs(0)))()
    encoder.eval()
    half, origin = (0.5,) * 3, {"kind": "pretrained"}
    looks = Provenance(arch, 0, 0, PX, half, half, (0.5,), {}, {}, {}, "", origin)
    checkpoint.write_encoder(out, encoder, looks)


def measured(work: Callable[[], object], size: int) -> dict[str, float]:
    """Seconds, and the peak of resident memory over what there was, in units of `size` bytes."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # freed memory would hide what is taken next
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before, start = memory("VmRSS"), time.perf_counter()
    work()
    seconds = time.perf_counter() - start
    return {"s": round(seconds, 1), "weights": round((memory("VmHWM") - before) / size, 2)}


def memory(field: str) -> int:
    """A field of /proc/self/status, in bytes."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split(f"{field}:")[1].split()[0])


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        with tempfile.TemporaryDirectory() as place:
            print(json.dumps(costs(sys.argv[2], Path(place))))
    else:
        main(sys.argv[1:])
