"""Loss and gradients of a batch beyond memory, part by part (GradCache, arXiv 2101.06983).

A contrastive loss needs the outputs of the whole batch, but not the activations behind them:
outputs first, part by part; then the loss and its gradients by the outputs; then each part once
more, backward from these. The gradients are exact, at one more forward pass, and on a mesh one sum
of the gradients over devices for each part; what `embed` sums over devices itself (statistics of
BatchNorm) is summed for each part, too, and forward twice.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

Embed = Callable[[nnx.Module, Any], Any]
Loss = Callable[[Any], jax.Array]


def value_and_grad(
    embed: Embed, loss_of: Loss, model: nnx.Module, inputs: Any, *, parts: int
) -> tuple[tuple[jax.Array, Any], nnx.State]:
    """`nnx.value_and_grad` of `loss_of(embed(model, inputs))`, in as many parts as asked for.

    Part k holds the examples k, k + parts, k + 2 parts, …: on a mesh each device then has its share
    of each part, and no example moves. Statistics that `embed` takes over its batch
    (BatchNorm) are those of a part; it is exact with respect to a step that embeds the same
    parts side by side. What `embed` changes of the model (running statistics) becomes the mean of
    the changes of all parts.

    Args:
      embed: (model, inputs) → outputs, any pytrees of (n, …) arrays; an example a row.
      loss_of: outputs of the batch → scalar.
      model: with nnx.Param leaves; other state is changed as said.
      inputs: of the batch, (B, …) each.
      parts: a divisor of B; 1: all at once, by plain differentiation.

    Returns:
      ((loss, outputs), gradients of the model's nnx.Param leaves).
    """
    if parts == 1:

        def whole(model: nnx.Module) -> tuple[jax.Array, Any]:
            outputs = embed(model, inputs)
            return loss_of(outputs), outputs

        return nnx.value_and_grad(whole, has_aux=True)(model)

    graph, params, others = nnx.split(model, nnx.Param, ...)

    def embed_part(params: nnx.State, part: Any) -> tuple[Any, nnx.State]:
        copy = nnx.merge(graph, params, others, copy=True)
        outputs = embed(copy, part)
        return outputs, nnx.split(copy, nnx.Param, ...)[2]

    shares = jax.tree.map(lambda x: _dealt(x, parts), inputs)
    dealt_outputs = jax.lax.map(lambda part: embed_part(params, part)[0], shares)
    outputs = jax.tree.map(_gathered, dealt_outputs)
    loss, by_outputs = jax.value_and_grad(loss_of)(outputs)

    def backward(sums: Any, share: tuple[Any, Any]) -> tuple[Any, None]:
        part, by_part = share
        _, pull, changed = jax.vjp(lambda params: embed_part(params, part), params, has_aux=True)
        return jax.tree.map(jnp.add, sums, (*pull(by_part), changed)), None

    zeros = jax.tree.map(jnp.zeros_like, (params, others))
    shares = (shares, jax.tree.map(lambda x: _dealt(x, parts), by_outputs))
    (gradients, changed), _ = jax.lax.scan(backward, zeros, shares)
    nnx.update(model, jax.tree.map(lambda total: total / parts, changed))
    return (loss, outputs), gradients


def _dealt(x: jax.Array, parts: int) -> jax.Array:
    """(B, …) → (parts, B / parts, …), dealt out like cards."""
    return x.reshape(len(x) // parts, parts, *x.shape[1:]).swapaxes(0, 1)


def _gathered(x: jax.Array) -> jax.Array:
    return x.swapaxes(0, 1).reshape(-1, *x.shape[2:])
