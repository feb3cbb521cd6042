"""Figures of benchmarks.md that no command of the program prints.

python docs/figures.py kernels           gradients of ResNet-18's kernels: YNNPACK against Eigen
python docs/figures.py step              loss and gradients, by what XLA leaves to YNNPACK
python docs/figures.py flat-views        share of nearly flat views, by strength of the jitter
python docs/figures.py folds WORKDIR…    probes on folds of PCam's training split alone
"""

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from histo_simclr import checkpoint, records
from histo_simclr import config as configs
from histo_simclr import mesh as meshes
from histo_simclr.evaluate import extract, heads, linear_eval
from histo_simclr.input import order, reader
from histo_simclr.model.simclr import SimCLR
from histo_simclr.pretrain import objective
from histo_simclr.views import compose

ROOT = Path(__file__).parents[1]
SAMPLE = ROOT / "configs/resnet18_mix.py"
OPTION = "xla_cpu_experimental_ynn_fusion_type"
# Layer at 224 px: side of the input, channels in and out, kernel, stride.
KERNELS = {
    "stem": (224, 3, 64, 7, 2),
    "layer1, 3×3": (56, 64, 64, 3, 1),
    "layer2, 1×1 at stride 2": (56, 64, 128, 1, 2),
    "layer4, 3×3": (7, 512, 512, 3, 1),
}
LEFT_TO_YNNPACK = {
    "all (the default)": {},
    "reductions (what we choose)": {OPTION: "LIBRARY_FUSION_TYPE_REDUCE"},
    "dot products": {OPTION: "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT"},
}
STRENGTHS = (3e-4, 1e-3, 3e-3, 1e-2)  # C


def main() -> None:
    """Runs one case."""
    cases = {"kernels": kernels, "step": step, "flat-views": flat_views, "folds": folds}
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("case", choices=cases)
    parser.add_argument("workdirs", nargs="*")
    args = parser.parse_args()
    cases[args.case](*args.workdirs)


def cpu_seconds(program: Callable[..., Any], *arguments: Any) -> float:
    """Median of the process's CPU time over six calls, after one to warm up."""
    jax.block_until_ready(program(*arguments))
    taken = []
    for _ in range(6):
        start = time.process_time()
        jax.block_until_ready(program(*arguments))
        taken.append(time.process_time() - start)
    return statistics.median(taken)


def kernels() -> None:
    """GFLOP/s of the gradient of each kernel, 8 views of 224 px."""
    for name, (side, fan_in, out, kernel, stride) in KERNELS.items():
        convolve = partial(
            jax.lax.conv_general_dilated,
            window_strides=(stride, stride),
            padding=[(kernel // 2, kernel // 2)] * 2,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        x, weight = jnp.ones((8, side, side, fan_in)), jnp.ones((kernel, kernel, fan_in, out))
        y = convolve(x, weight)

        def gradient(x, weight, y, convolve=convolve):
            return jax.vjp(partial(convolve, x), weight)[1](y)

        gflop = 2 * y.size * kernel**2 * fan_in / 1e9
        rates = []
        for options in ({}, meshes.compiler_options(meshes.make(1))):
            compiled = jax.jit(gradient, compiler_options=options).lower(x, weight, y).compile()
            rates.append(gflop / cpu_seconds(compiled, x, weight, y))
        print(f"{name}: YNNPACK {rates[0]:.1f} GFLOP/s, Eigen {rates[1]:.1f}")


def step() -> None:
    """CPU ms an image of loss and gradients, without views and update."""
    model = SimCLR("resnet18", hidden=512, out=128, rngs=nnx.Rngs(0))
    graph, state = nnx.split(model)

    def loss_and_gradients(state, views):
        def loss_of(model):
            pairs = model(views)[1].reshape(-1, 2, 128)
            return objective.nt_xent(pairs, temperature=0.2)

        return nnx.value_and_grad(loss_of)(nnx.merge(graph, state))

    for px, batch in ((224, 4), (80, 64)):
        views = jax.random.normal(jax.random.key(0), (2 * batch, px, px, 3))
        for name, options in LEFT_TO_YNNPACK.items():
            jitted = jax.jit(loss_and_gradients, compiler_options=options)
            seconds = cpu_seconds(jitted.lower(state, views).compile(), state, views)
            print(f"{px} px, B {batch}, {name}: {1e3 * seconds / batch:.1f} CPU ms an image")


def flat_views() -> None:
    """Share of 1,024 views of the embedded mix whose pixels hardly differ."""
    rows, _ = records.load_mix(ROOT / "data/sample/mix")
    drawn = order.batch_rows(0, seed=0, n=len(rows), batch_size=512)
    patches = next(reader.read(rows, lambda _: drawn, start=0, stop=1))
    recipe = configs.load(str(SAMPLE)).views.to_dict()
    for strength in (0.8, 0.4):
        changed = recipe | {"brightness": strength, "contrast": strength}
        chances = compose.chances(jax.random.key(0), len(patches), count=2)
        views = jax.jit(partial(compose.random_views, **changed))(chances, patches)
        pixels = np.concatenate(views) * recipe["std"][0] + recipe["mean"][0]
        share = np.mean(pixels.std((1, 2)).mean(-1) < 0.05)
        print(f"brightness and contrast {strength}: {share:.1%} below a deviation of 0.05")


def folds(*workdirs: str) -> None:
    """Accuracy over twice five folds of the training patches, for each C; no test patch is read."""
    from sklearn.model_selection import RepeatedStratifiedKFold

    rows = records.load_record_set(ROOT / "data/sample/records/pcam", "train")
    _, labels = np.unique(rows.columns["label"].astype(str), return_inverse=True)
    splitter = RepeatedStratifiedKFold(n_splits=5, n_repeats=2, random_state=0)
    fitted_on = np.zeros((10, len(labels)), bool)
    for fold, (chosen, _) in enumerate(splitter.split(labels, labels)):
        fitted_on[fold, chosen] = True
    encoders = {"random init": linear_eval.untrained("resnet18", 0)}
    encoders |= {name: checkpoint.load_encoder(name)[0] for name in workdirs}
    for name, encoder in encoders.items():
        features = extract.features(
            encoder,
            rows.rows,
            px=configs.load(str(SAMPLE)).views.px,
            mean=(0.5,) * 3,
            std=(0.5,) * 3,
            batch_size=128,
            mesh=meshes.make(),
        )
        solved = heads.fit_linear(
            features,
            labels,
            fitted_on,
            num_classes=2,
            strengths=STRENGTHS,
            standardize=True,
            tolerance=1e-5,
            max_iterations=5000,
        )
        said = []
        for number, strength in enumerate(STRENGTHS):
            right = [
                heads.probabilities(solved, features[~chosen], fold=fold, strength=number).argmax(1)
                == labels[~chosen]
                for fold, chosen in enumerate(fitted_on)
            ]
            said.append(f"{strength:g}: {np.concatenate(right).mean():.3f}")
        print(f"{name}: accuracy by C {', '.join(said)}")


if __name__ == "__main__":
    main()
