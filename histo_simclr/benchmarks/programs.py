"""The compiled programs that are timed: a run's own, for a batch of a given size."""

import collections
import functools
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from histo_simclr import config as configs
from histo_simclr import mesh as meshes
from histo_simclr import update
from histo_simclr.benchmarks.compilations import Compilations
from histo_simclr.views import compose


class Compiled(NamedTuple):
    """A program ready to be called, and how it came to be.

    Fields:
      call: `jax.stages.Compiled`.
      seconds: to trace and compile it, or to fetch it from the persistent cache.
      cache: "hit", "miss" or "off".
    """

    call: Any
    seconds: float
    cache: str


class Training:
    """Steps that go on from each other's state.

    Fields:
      arrays: the state after the last step given to the device.
      done: number of these steps.
    """

    def __init__(self, step: Callable, arrays: Any, seed_key: jax.Array):
        self._step, self.arrays, self._key, self.done = step, arrays, seed_key, 0

    def steps(self, next_batch: Callable[[Any], jax.Array], *, ahead: int) -> Iterator[dict]:
        """Metrics of finished steps, without end.

        Args:
          next_batch: (output of the last step given to the device, or None) → patches.
          ahead: steps that Python is before the device.
        """
        window = collections.deque()
        while True:
            patches = next_batch(window[-1] if window else None)
            self.arrays, metrics = self._step(self.arrays, patches, self._key)
            self.done += 1
            window.append(metrics)
            if len(window) > ahead:
                yield jax.block_until_ready(window.popleft())


def compiled(jitted: Callable, *arguments: Any, **static: Any) -> Compiled:
    """Compiles for the arguments' shapes."""
    with Compilations() as found:
        start = time.perf_counter()
        call = jitted.lower(*arguments, **static).compile()
    return Compiled(call, time.perf_counter() - start, found.cache)


def any_plan(config: Any) -> configs.Plan:
    """A run's plan where no mix says how many patches there are.

    Their number only stretches the schedule of the learning rate.
    """
    return configs.plan(config, 1000 * config.batch_size)


def steps_of(config: Any, mesh: Mesh, px: int) -> tuple[Any, dict[str, tuple[Callable, Any]]]:
    """A run's program; its step whole on patches of px, and on ready views; shapes of batches."""
    from histo_simclr.pretrain import step, train

    plan = any_plan(config)
    program = train.build(config, mesh, plan)
    bound = train.recipe(config, plan) | {"views": lambda _, both: (both[:, 0], both[:, 1])}
    on_ready = functools.partial(step.pretrain_step, graph=program.split.graph, **bound)
    ready = update.compile_step(on_ready, mesh)
    patches = jax.ShapeDtypeStruct((config.batch_size, px, px, 3), "uint8")
    side = config.views.px
    both = jax.ShapeDtypeStruct((config.batch_size, 2, side, side, 3), config.precision)
    return program, {"whole": (program.step, patches), "ready": (ready, both)}


def training(config: Any, mesh: Mesh, px: int, *, variant: str) -> tuple[Compiled, Training, Any]:
    """One of `steps_of` compiled, its state, and the shape of a batch."""
    program, variants = steps_of(config, mesh, px)
    jitted, batch = variants[variant]
    step = compiled(jitted, program.split.arrays, batch, program.seed_key)
    return step, Training(step.call, program.split.arrays, program.seed_key), batch


def views(config: Any, mesh: Mesh, px: int) -> Compiled:
    """(step number, patches of px) → two views, compiled."""

    def both(number: jax.Array, patches: jax.Array) -> tuple[jax.Array, jax.Array]:
        key = jax.random.fold_in(jax.random.key(config.seed), number)
        chances = compose.chances(key, len(patches), count=2)
        return compose.random_views(chances, patches, **config.views, dtype=config.precision)

    split = meshes.batch_sharding(mesh)
    jitted = jax.jit(both, in_shardings=(None, split), out_shardings=split)
    patches = jax.ShapeDtypeStruct((config.batch_size, px, px, 3), "uint8")
    return compiled(jitted, np.uint32(0), patches)


def noise(shape: tuple[int, ...], dtype: Any, mesh: Mesh) -> jax.Array:
    """A batch of random bytes or normal numbers on the devices."""
    draw = jax.random.bits if np.dtype(dtype) == np.uint8 else jax.random.normal
    return jax.device_put(draw(jax.random.key(0), shape, dtype), meshes.batch_sharding(mesh))
