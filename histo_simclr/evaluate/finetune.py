"""Fine-tuning: encoder, rows and labels in; what the fine-tuned network says of the test rows out.

The step, the feed and the random views are those of pretraining (`update`, `input`, `views`). After
each epoch the validation part is judged on plain views; the best epoch's parameters are tested.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from histo_simclr import mesh as meshes
from histo_simclr import optimizer as rules
from histo_simclr import state, update
from histo_simclr.errors import InputError
from histo_simclr.evaluate import extract, finetune_step
from histo_simclr.evaluate.supervised import Classification, Regression
from histo_simclr.input import device, feed, order
from histo_simclr.model.resnet import ResNet
from histo_simclr.provenance import Provenance
from histo_simclr.records import Rows
from histo_simclr.views import compose

# What validation may choose by, and whether more of it is better.
STOP_ON = {"loss": False, "macro_f1": True}


class Examples(NamedTuple):
    """Patches with what is to be learned of them.

    Fields:
      rows: n patches.
      labels: (n,) integers in [0, K), or the targets (n,) of a regression, finite floats.
    """

    rows: Rows
    labels: np.ndarray


class Finetuned(NamedTuple):
    """What one fine-tuning says of the test rows, and how it came about.

    Fields:
      probabilities: (m, K) float32 of the test rows, rows sum to 1; None for a regression.
      values: (m,) float32 of a regression, in units of its targets; else None.
      epochs: epochs trained.
      best_epoch: the one whose parameters were tested, counted from 1.
      training: mean loss of each epoch's batches, on random views; of standardized targets.
      validation: what validation chose by, after each epoch: loss or macro-F1.
    """

    probabilities: np.ndarray | None
    values: np.ndarray | None
    epochs: int
    best_epoch: int
    training: list[float]
    validation: list[float]


class Fitted(NamedTuple):
    """What `fit` gives: the best epoch's network in eval mode; the rest as in `Finetuned`."""

    model: nnx.Module
    best_epoch: int
    training: list[float]
    validation: list[float]


def finetune(
    encoder: ResNet,
    provenance: Provenance,
    train: Examples,
    validation: Examples,
    test: Rows,
    *,
    num_classes: int | None,
    mesh: jax.sharding.Mesh,
    seed: int,
    dtype: jnp.dtype,
    batch_size: int,
    epochs: int,
    warmup_epochs: float,
    patience: int,
    stop_on: str,
    balanced: bool,
    label_smoothing: float,
    freeze_statistics: bool,
    optimizer: Mapping[str, Any],
    views: Mapping[str, Any],
    tell: Callable[[str], None] = lambda line: None,
) -> Finetuned:
    """Trains encoder and a linear layer from the encoder's weights; the encoder itself stays.

    Equal arguments give equal results; on another number of devices they differ by rounding.

    Args:
      encoder: where the fine-tuning starts.
      provenance: says what input the encoder expects, and its architecture.
      train, validation: of no common group; validation chooses the epoch.
      test: m rows; nothing is chosen by them.
      num_classes: K; None: a regression, by squared error of targets standardized on train.
      mesh: every batch is split over it.
      seed: of the order of the patches and of their views.
      dtype: of the computation; parameters, statistics and loss are float32.
      batch_size: of the global batch, divisible by the number of devices.
      epochs: at most; one is n // batch_size steps, at least one.
      warmup_epochs: part of them in which the rate rises from 0; it then falls to 0 as a cosine.
      patience: epochs without a better validation score, after which training ends.
      stop_on: "loss", or "macro_f1".
      balanced: take every class equally often; a regression takes every patch so.
      label_smoothing: share of each label that is given to all classes alike, in [0, 1).
      freeze_statistics: normalize by the encoder's batch statistics, and keep them.
      optimizer: name, rate, momentum, weight_decay, as in `optimizer.make`; layer_decay: rate of a
        stage relative to the one above it, in [0, 1].
      views: arguments of `compose.random_views` but for chances, px, mean, std and dtype.
      tell: takes a line after each epoch.

    Raises:
      InputError: settings or labels that cannot be used, a corrupt record, or a loss that is not
        finite.
    """
    _check(mesh, batch_size, epochs, patience, stop_on, label_smoothing, num_classes is None)
    _check_patches(training=train, validation=validation)
    if num_classes is None:
        task, classes = Regression.of(train.labels), np.zeros(len(train.rows), np.int64)
    else:
        task = Classification(num_classes, label_smoothing)
        classes = train.labels if balanced else np.zeros_like(train.labels)
    for name, part in (("training", train), ("validation", validation)):
        task.check(part.labels, where=f"{name} part")
    looks = {"px": provenance.px, "mean": provenance.mean, "std": provenance.std}
    outputs_of = functools.partial(extract.features, **looks, batch_size=batch_size, mesh=mesh)
    steps = max(len(train.rows) // batch_size, 1)
    rate = rules.schedule(
        optimizer["rate"], warmup_steps=round(warmup_epochs * steps), total_steps=epochs * steps
    )
    split = finetune_step.start(
        encoder,
        provenance.arch,
        outputs=task.outputs,
        rule=finetune_step.rule(**{**optimizer, "rate": rate}),
        freeze_statistics=freeze_statistics,
        dtype=dtype,
        sharding=meshes.replicated(mesh),
    )
    view = functools.partial(compose.random_views, **views, **looks, dtype=dtype)
    bound = functools.partial(
        finetune_step.finetune_step, graph=split.graph, view=view, loss_of=task.loss
    )
    with feed.global_batches(
        train.rows,
        functools.partial(order.balanced_rows, seed=seed, classes=classes, batch_size=batch_size),
        start=0,
        stop=epochs * steps,
        mesh=mesh,
        labels=task.encode(train.labels),
    ) as batches:
        fitted = fit(
            update.compile_step(bound, mesh),
            split,
            batches,
            update.seed_key(seed, mesh),
            judge=lambda model: task.score(
                outputs_of(model, validation.rows), validation.labels, stop_on
            ),
            more_is_better=STOP_ON[stop_on],
            epochs=epochs,
            steps=steps,
            patience=patience,
            tell=tell,
        )
    found = task.predict(outputs_of(fitted.model, test))
    pair = (None, found) if num_classes is None else (found, None)
    return Finetuned(*pair, len(fitted.validation), *fitted[1:])


def fit(
    step: Callable[..., tuple[nnx.State, jax.Array]],
    split: state.Split,
    batches: device.Feed,
    key: jax.Array,
    *,
    judge: Callable[[nnx.Module], float],
    more_is_better: bool,
    epochs: int,
    steps: int,
    patience: int,
    tell: Callable[[str], None],
) -> Fitted:
    """Trains until validation has not got better for a while.

    Args:
      step: of `update.compile_step`; its metrics are the loss.
      split: the state to start from; its arrays are donated.
      batches: `epochs * steps` of them.
      key: of `update.seed_key`.
      judge: a network in eval mode → its validation score.
      more_is_better: whether the best score is the highest.
      epochs, steps: epochs at most, updates in each.
      patience: epochs without a better score, after which training ends.
      tell: takes a line after each epoch.

    Raises:
      InputError: a loss or score that is not finite.
    """
    arrays, training, scores, best = split.arrays, [], [], None
    for epoch in range(1, epochs + 1):
        arrays, loss = train_epoch(step, arrays, batches, key, steps=steps)
        training.append(_finite(loss, epoch))
        model, _ = nnx.merge(split.graph, arrays)
        model.eval()
        scores.append(_finite(judge(model), epoch))
        tell(f"epoch {epoch}/{epochs}  loss {training[-1]:.3f}  validation {scores[-1]:.3f}")
        best_epoch = 1 + int(np.argmax(scores) if more_is_better else np.argmin(scores))
        if epoch == best_epoch:
            # Copies: the next step is given the arrays themselves, to write into.
            best = jax.tree.map(np.array, nnx.state(model))
        if epoch - best_epoch >= patience:
            break
    nnx.update(model, best)
    return Fitted(model, best_epoch, training, scores)


def train_epoch(
    step: Callable[..., tuple[nnx.State, jax.Array]],
    arrays: nnx.State,
    batches: device.Feed,
    key: jax.Array,
    *,
    steps: int,
) -> tuple[nnx.State, float]:
    """`steps` updates: the new arrays, and the mean of their losses."""
    losses: list[jax.Array] = []
    with jax.transfer_guard("disallow"):
        for _ in range(steps):
            batch = batches.next(pending=losses[-1] if losses else None)
            arrays, loss = step(arrays, batch, key)
            losses.append(loss)
            if len(losses) > update.AHEAD:
                jax.block_until_ready(losses[-1 - update.AHEAD])
        return arrays, float(np.mean(jax.device_get(losses)))


def _finite(value: float, epoch: int) -> float:
    if not np.isfinite(value):
        raise InputError(
            f"loss is {value} in epoch {epoch}",
            where="fine-tuning",
            way_out="set a smaller optimizer.rate or a longer warm-up",
        )
    return value


def _check(
    mesh: jax.sharding.Mesh,
    batch_size: int,
    epochs: int,
    patience: int,
    stop_on: str,
    label_smoothing: float,
    is_regression: bool,
) -> None:
    devices = mesh.size
    below = max(devices, batch_size // devices * devices)
    choices = ["loss"] if is_regression else list(STOP_ON)
    for key, value, holds, way_out in (
        ("batch_size", batch_size, batch_size % devices == 0 < batch_size, f"set it to {below}"),
        ("epochs", epochs, epochs > 0, "give 1 or more"),
        ("patience", patience, patience > 0, "give 1 or more"),
        ("stop_on", stop_on, stop_on in choices, f"choose {' or '.join(choices)}"),
        ("label_smoothing", label_smoothing, 0 <= label_smoothing < 1, "give 0 to below 1"),
    ):
        if not holds:
            raise InputError(f"cannot be {value!r} here", where=f"finetune.{key}", way_out=way_out)


def _check_patches(**parts: Examples) -> None:
    for name, part in parts.items():
        if not len(part.rows) or len(part.rows) != len(part.labels):
            raise InputError(
                f"{len(part.rows)} patches with {len(part.labels)} labels",
                where=f"{name} part",
                way_out="give it patches, each with its label",
            )
