"""Learning rate (scaling, schedule) and update rules, all of optax. Knows no files and no config.

Decay and layer adaptation concern kernels and matrices only: every parameter of one dimension
(biases, BatchNorm scales) is left out, as google-research/simclr leaves them out by name.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import optax

from histo_simclr.errors import InputError

# arXiv 1708.03888 and google-research/simclr, lars_optimizer.py: eta.
TRUST_COEFFICIENT = 0.001


def scaled_rate(base_rate: float, batch_size: int, scaling: str) -> float:
    """Peak learning rate for a global batch (SimCLR, arXiv 2002.05709, appendix B.1).

    Args:
      base_rate: e.g. 0.3 for linear, 0.075 for sqrt.
      batch_size: patches in the global batch, not views.
      scaling: "linear" (base * B / 256), "sqrt" (base * sqrt(B)) or "none" (base).

    Raises:
      InputError: unknown scaling.
    """
    factors = {"linear": batch_size / 256, "sqrt": math.sqrt(batch_size), "none": 1.0}
    return base_rate * _choose(factors, scaling, "learning rate scaling")


def schedule(peak: float, *, warmup_steps: int, total_steps: int) -> optax.Schedule:
    """Linear warm-up from 0 to peak at step warmup_steps, then cosine to 0 at step total_steps.

    The first update (step 0) has rate 0 unless warmup_steps is 0; google-research/simclr, model.py.

    Raises:
      InputError: the warm-up is not shorter than the run.
    """
    if not 0 <= warmup_steps < total_steps:
        raise InputError(
            f"{warmup_steps} warm-up steps do not fit a run of {total_steps} steps",
            where="learning rate schedule",
            way_out="shorten the warm-up or lengthen the run",
        )
    return optax.warmup_cosine_decay_schedule(0.0, peak, warmup_steps, total_steps)


def make(
    name: str, *, rate: optax.ScalarOrSchedule, weight_decay: float, momentum: float
) -> optax.GradientTransformation:
    """Update rule by name; parameters are any pytree of arrays, nnx.State included.

    Args:
      name: "lars", "sgd" or "adamw".
      rate: learning rate, or a schedule of the step.
      weight_decay: added to the gradient by lars and sgd, decoupled in adamw; kernels only.
      momentum: of lars and sgd (decay of the velocity); beta 1 of adamw.

    Raises:
      InputError: unknown name.
    """
    rules = {"lars": _lars, "sgd": _sgd, "adamw": _adamw}
    return _choose(rules, name, "optimizer")(rate, weight_decay, momentum)


def layerwise(
    rule: optax.GradientTransformation, *, decay: float, depth_of: Callable[[tuple[Any, ...]], int]
) -> optax.GradientTransformation:
    """A rule whose learning rate is multiplied by decay ** depth (arXiv 1801.06146, sec. 3.2).

    Updates, weight decay included, are proportional to the rate, so they are what is multiplied.

    Args:
      rule: of `make`.
      decay: per layer, in [0, 1]; 1 changes nothing, 0 moves depth 0 only.
      depth_of: path of a parameter (names, as in `state.parts`) → layers between it and the output.
    """

    def scale(updates: optax.Updates, params: optax.Params | None = None) -> optax.Updates:
        del params

        def scaled(path: tuple[Any, ...], leaf: jax.Array) -> jax.Array:
            return leaf * decay ** depth_of(tuple(getattr(part, "key", part) for part in path))

        return jax.tree.map_with_path(scaled, updates)

    return optax.chain(rule, optax.stateless(scale))


def is_adapted(params: optax.Params) -> optax.Params:
    """Tree of bools, True where decay and layer adaptation apply: more than one dimension."""
    return jax.tree.map(lambda leaf: leaf.ndim > 1, params)


def _lars(rate, weight_decay, momentum):
    # Both masks: with weight_decay_mask alone optax still adapts the rate of biases and BatchNorm.
    return optax.lars(
        rate,
        weight_decay=weight_decay,
        weight_decay_mask=is_adapted,
        trust_coefficient=TRUST_COEFFICIENT,
        trust_ratio_mask=is_adapted,
        momentum=momentum,
    )


def _sgd(rate, weight_decay, momentum):
    decay = optax.add_decayed_weights(weight_decay, mask=is_adapted)
    return optax.chain(decay, optax.sgd(rate, momentum=momentum))


def _adamw(rate, weight_decay, momentum):
    return optax.adamw(rate, b1=momentum, weight_decay=weight_decay, mask=is_adapted)


def _choose(options: dict, name: str, where: str):
    if name not in options:
        raise InputError(
            f"unknown choice {name!r}", where=where, way_out=f"choose one of {', '.join(options)}"
        )
    return options[name]
