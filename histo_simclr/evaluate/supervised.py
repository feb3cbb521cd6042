"""What a network is trained and judged by: classes by cross-entropy, targets by squared error.

Outputs of the network and labels in, numbers out. Knows no data, devices or config.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from histo_simclr.errors import InputError
from histo_simclr.evaluate import metrics


class Classification(NamedTuple):
    """K classes; the network gives logits (n, K).

    Fields:
      num_classes: K.
      smoothing: share of each label that all classes get alike (arXiv 1512.00567, sec. 7), in
        [0, 1); in training only.
    """

    num_classes: int
    smoothing: float

    @property
    def outputs(self) -> int:
        """Numbers that the network gives for a patch."""
        return self.num_classes

    def check(self, labels: np.ndarray, *, where: str) -> None:
        """InputError unless labels are integers in [0, K)."""
        found = np.asarray(labels)
        is_number = np.issubdtype(found.dtype, np.integer)
        if is_number and found.min() >= 0 and found.max() < self.num_classes:
            return
        said = f"{found.min()} to {found.max()}" if is_number else f"of type {found.dtype}"
        raise InputError(
            f"labels are {said}, not integers from 0 to {self.num_classes - 1}",
            where=where,
            way_out="encode them as splits.encode_labels does",
        )

    def encode(self, labels: np.ndarray) -> np.ndarray:
        """Labels as training takes them: (n,) int32."""
        return labels.astype(np.int32)

    def loss(self, logits: jax.Array, labels: jax.Array) -> jax.Array:
        """Mean cross-entropy with the smoothed labels, scalar; jax arrays."""
        wanted = jax.nn.one_hot(labels, self.num_classes, dtype=logits.dtype)
        wanted = optax.smooth_labels(wanted, self.smoothing)
        return optax.softmax_cross_entropy(logits, wanted).mean()

    def score(self, logits: np.ndarray, labels: np.ndarray, by: str) -> float:
        """Cross-entropy ("loss") or "macro_f1" on labels that are not smoothed."""
        if by == "macro_f1":
            matrix = metrics.confusion(labels, logits.argmax(1), num_classes=self.num_classes)
            return float(metrics.macro_f1(matrix))
        return float(self._replace(smoothing=0.0).loss(jnp.asarray(logits), jnp.asarray(labels)))

    def predict(self, logits: np.ndarray) -> np.ndarray:
        """Probabilities (n, K) float32; rows sum to 1."""
        return np.asarray(jax.nn.softmax(jnp.asarray(logits)))


class Regression(NamedTuple):
    """One number a patch; the network gives it standardized, (n, 1).

    Fields:
      mean, deviation: of the training targets.
    """

    mean: float
    deviation: float

    outputs = 1

    @staticmethod
    def of(targets: np.ndarray) -> "Regression":
        """The standardization of training targets; of constant ones the deviation counts as 1."""
        return Regression(float(np.mean(targets)), float(np.std(targets)) or 1.0)

    def check(self, targets: np.ndarray, *, where: str) -> None:
        """InputError unless all targets are finite."""
        if not np.isfinite(targets).all():
            raise InputError(
                f"{np.sum(~np.isfinite(targets))} target(s) are not finite numbers",
                where=where,
                way_out="leave these patches out",
            )

    def encode(self, targets: np.ndarray) -> np.ndarray:
        """Targets as training takes them: (n,) float32, standardized."""
        return ((targets - self.mean) / self.deviation).astype(np.float32)

    def loss(self, outputs: jax.Array, targets: jax.Array) -> jax.Array:
        """Mean squared error of encoded targets, scalar; jax arrays."""
        return jnp.mean((outputs[:, 0] - targets) ** 2)

    def score(self, outputs: np.ndarray, targets: np.ndarray, by: str) -> float:
        """Mean squared error ("loss") of standardized targets."""
        del by
        return float(np.mean((outputs[:, 0] - self.encode(targets)) ** 2))

    def predict(self, outputs: np.ndarray) -> np.ndarray:
        """Values (n,) in units of the targets."""
        return outputs[:, 0] * self.deviation + self.mean
