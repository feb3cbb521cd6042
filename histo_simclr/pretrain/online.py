"""Judges the encoder every few steps, beside the training: the devices embed, a thread asks.

The patches of all questions wait on the devices. After a due step the encoder embeds them, in
float32 and with running statistics, before the next step may overwrite its arrays. A thread of the
first process fetches the features and asks the questions, while the devices train on. Nothing of
the training depends on it.

Cost: a forward pass a patch, a sixth of what the patch costs in training (ResNet-18 at 80 px, 2 CPU
cores: 800 patches took 2.0 to 2.1 steps of 64), so 4 % of the time of the sample, 3 % of overnight.
"""

import concurrent.futures
import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from histo_simclr import mesh as meshes
from histo_simclr.input import feed, order
from histo_simclr.model.resnet import ResNet
from histo_simclr.pretrain import questions
from histo_simclr.views import compose

# Evaluations that may wait for the thread before the training waits for it.
PENDING = 2

log = logging.getLogger(__name__)


class Online:
    """Asks some questions of the encoder, as it is after every few steps.

    Args:
      asked: the questions; none: no step is due.
      encoder: arrays of the untrained encoder, whole on each device; its answers are the floor.
      every: steps from one evaluation to the next.
      arch: of the encoder.
      view: px, mean, std of `compose.plain_view`.
      batch_size: patches embedded at a time, over all devices. Changes no answer.
      mesh: that the training runs on.

    Raises:
      InputError: records that are corrupt, as `reader.read`.
    """

    def __init__(
        self,
        asked: Sequence[questions.Question],
        encoder: nnx.State,
        *,
        every: int,
        arch: str,
        view: dict[str, Any],
        batch_size: int,
        mesh: jax.sharding.Mesh,
    ):
        self._asked, self._every = asked, every
        self._patches = [_on_devices(each, batch_size, mesh) for each in asked]
        self._embed = embedding(arch, jax.tree.structure(encoder), view=view, mesh=mesh)
        self._thread = concurrent.futures.ThreadPoolExecutor(1, "online")
        self._pending: deque[concurrent.futures.Future] = deque()
        self._floor: dict[str, float] = {}
        # Features of the last evaluation: until they are computed the devices are busy.
        self.dispatched: list[jax.Array] = []
        # At once, so that no step waits for the compiler.
        if untrained := self.start(0, encoder):
            answers = untrained.result()
            named = [name for name in questions.CHANCE if name in answers]
            self._floor = {f"{name}_untrained": answers[name] for name in named}

    def is_due(self, step: int) -> bool:
        """Whether the encoder is judged after this step (from 1); the same on every process."""
        return bool(self._asked) and step % self._every == 0

    def start(self, step: int, encoder: nnx.State) -> concurrent.futures.Future | None:
        """Enqueues the embedding, and the questions behind it.

        To be called on every process, after the step and before the next is dispatched: that one
        is donated the arrays, and what was enqueued before it reads them first.

        Args:
          step: number of the step that gave the encoder.
          encoder: its arrays.

        Returns:
          Of the answers by name, beside those of the untrained encoder (`…_untrained`); empty where
          features are not finite. None on other processes than the first.
        """
        leaves = jax.tree.leaves(encoder)
        self.dispatched = [self._embed(leaves, patches) for patches in self._patches]
        if jax.process_index() != 0:
            return None
        while len(self._pending) >= PENDING:
            self._pending.popleft().result()
        self._pending.append(self._thread.submit(self._answer, step, self.dispatched))
        return self._pending[-1]

    def close(self) -> None:
        """Waits for what was started, and ends the thread."""
        self._thread.shutdown()

    def _answer(self, step: int, embedded: Sequence[jax.Array]) -> dict[str, float]:
        answers: dict[str, float] = {}
        for each, array in zip(self._asked, embedded, strict=True):
            features = jax.device_get(array)[: len(each.chosen)]  # the rest is padding
            if not np.isfinite(features).all():
                log.warning("features after step %d hold NaN or infinity: not judged", step)
                return {}
            answers |= each.ask(features)
        known = {name: value for name, value in answers.items() if np.isfinite(value)}
        return known | self._floor


def embedding(
    arch: str,
    structure: jax.tree_util.PyTreeDef,
    *,
    view: dict[str, Any],
    mesh: jax.sharding.Mesh,
) -> Callable[[list[jax.Array], Sequence[jax.Array]], jax.Array]:
    """What runs on the devices: (leaves of an encoder's arrays, batches) → (N, D) float32.

    Not `encode.encoding`: that takes a copy of the arrays by way of the host.

    Args:
      arch: of the encoder; computed in float32 whatever the training computes in, as there.
      structure: of its arrays. Their leaves alone are passed: that costs least a call.
      view: px, mean, std of `compose.plain_view`.
      mesh: batches are split over it, the features whole on each device.
    """
    encoder = nnx.eval_shape(lambda: ResNet(arch, rngs=nnx.Rngs(0)))
    encoder.eval()
    graph, _ = nnx.split(encoder)
    whole, split = meshes.replicated(mesh), meshes.batch_sharding(mesh)

    def encode(leaves: list[jax.Array], patches: jax.Array) -> jax.Array:
        encoder = nnx.merge(graph, jax.tree.unflatten(structure, leaves))
        return encoder(compose.plain_view(patches, **view))

    run = jax.jit(
        encode,
        in_shardings=(whole, split),
        out_shardings=split,
        compiler_options=meshes.compiler_options(mesh),
    )
    # One collective for all batches.
    gather = jax.jit(lambda parts: jnp.concatenate(parts), out_shardings=whole)
    return lambda leaves, batches: gather([run(leaves, patches) for patches in batches])


def _on_devices(
    question: questions.Question, batch_size: int, mesh: jax.sharding.Mesh
) -> list[jax.Array]:
    """Its patches, (batch_size, px, px, 3) uint8 each; the last batch is padded."""
    sequence, _ = order.sequential(len(question.chosen), batch_size)
    with feed.global_batches(
        question.rows,
        lambda number: question.chosen[sequence[number]],
        start=0,
        stop=len(sequence),
        mesh=mesh,
        max_corrupt=question.max_corrupt,
    ) as batches:
        return [batches.next(pending=None) for _ in sequence]
