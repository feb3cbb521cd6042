"""Groups before splits: patches of one patient or slide never lie on both sides of a split."""

from typing import NamedTuple

import numpy as np

from histo_simclr.errors import InputError


class Groups(NamedTuple):
    """What patches belong together.

    Fields:
      names: (n,) strings; equal names are one group.
      kind: "patient", "slide", or "example" when neither is known: every patch is its own group.
    """

    names: np.ndarray
    kind: str

    @property
    def unit(self) -> str:
        """The kind in the words of design.md."""
        return "patch" if self.kind == "example" else self.kind

    def count(self) -> int:
        """Number of different groups."""
        return len(np.unique(self.names))


def groups_of(columns: dict[str, np.ndarray]) -> Groups:
    """The group of each row of a manifest: patient, else slide, else the row itself.

    Args:
      columns: with `patient` and `slide`, (n,) strings, empty where unknown.
    """
    patients, slides = (
        np.array([value or "" for value in columns[name]], dtype=str)
        for name in ("patient", "slide")
    )
    rows = np.char.add("example:", np.arange(len(slides)).astype(str))
    names = np.where(slides != "", np.char.add("slide:", slides), rows)
    names = np.where(patients != "", np.char.add("patient:", patients), names)
    known = [kind for kind, values in (("patient", patients), ("slide", slides)) if values.any()]
    return Groups(names, (known or ["example"])[0])


def check_disjoint(train: Groups, test: Groups, *, where: object) -> None:
    """Refuses a test split that shares a patient or slide with the training split.

    Raises:
      InputError: names a shared group.
    """
    shared = np.intersect1d(train.names, test.names)
    shared = shared[~np.char.startswith(shared.astype(str), "example:")]
    if len(shared):
        kind, _, name = str(shared[0]).partition(":")
        raise InputError(
            f"{kind} {name!r} and {len(shared) - 1} more are in both train and test",
            where=where,
            way_out="prepare the set again with splits by patient or slide",
        )


def encode_labels(
    train: np.ndarray, test: np.ndarray, class_names: list[str], *, where: object
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Label strings to class numbers, over the classes that the training split has.

    Args:
      train, test: (n,), (m,) label strings.
      class_names: of the record set, in their order.
      where: the record set, for errors.

    Returns:
      Numbers of train and test (int64), and the names of the K classes of the training split.

    Raises:
      InputError: a patch without label, a label in test only, a class with one example, one class.
    """
    labels = [np.array(["" if x is None else x for x in part], dtype=str) for part in (train, test)]
    unknown = sorted(set(np.concatenate(labels).tolist()) - set(class_names))
    if unknown:
        raise InputError(
            f"label {unknown[0]!r} is not one of its classes ({', '.join(class_names)})",
            where=where,
            way_out="give every patch a label, or prepare the set again",
        )
    unseen = sorted(set(labels[1].tolist()) - set(labels[0].tolist()))
    if unseen:
        raise InputError(
            f"label {unseen[0]!r} occurs in the test split only",
            where=where,
            way_out="add training patches of this class, or leave it out of the test split",
        )
    names, counts = np.unique(labels[0], return_counts=True)
    if counts.min() == 1:
        raise InputError(
            f"class {str(names[counts.argmin()])!r} has one example in the training split; "
            "it cannot be both fitted and validated",
            where=where,
            way_out="add patches of this class, or leave it out",
        )
    if len(names) < 2:
        raise InputError(
            f"only one class ({names[0]}) in the training split",
            where=where,
            way_out="a probe needs two classes or more",
        )
    kept = [name for name in class_names if name in set(names)]
    numbers = {name: number for number, name in enumerate(kept)}
    encoded = [np.array([numbers[x] for x in part], dtype=np.int64) for part in labels]
    return encoded[0], encoded[1], kept


def grouped_holdout(
    labels: np.ndarray, groups: np.ndarray, *, fraction: float, seed: int
) -> tuple[np.ndarray, bool]:
    """A validation part of whole groups, its class shares as near to `fraction` as groups allow.

    Every class keeps at least one example outside. Where no group can be spared (one group, or
    each class in a group of its own), single examples are held out instead.

    Args:
      labels: (n,) integers >= 0; every class has two examples or more.
      groups: (n,) strings; all different: examples are held out, stratified by class.
      fraction: wanted share, in (0, 1).
      seed: of the order in which groups are considered.

    Returns:
      (n,) booleans, True for held out; and whether whole groups were held out.
    """
    rng = np.random.default_rng(seed)
    names, group = np.unique(groups, return_inverse=True)
    if len(names) < len(labels):
        classes = labels.max() + 1
        counts = np.bincount(group * classes + labels, minlength=len(names) * classes)
        held = _held_groups(counts.reshape(-1, classes), fraction, rng)
        if held.any():
            return held[group], True
    held = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        held[members[: np.clip(round(fraction * len(members)), 1, len(members) - 1)]] = True
    return held, len(names) == len(labels)


def _held_groups(counts: np.ndarray, fraction: float, rng: np.random.Generator) -> np.ndarray:
    """Random groups, each held out if that brings class shares nearer; then the best corrections.

    Args:
      counts: (G, K), examples of each class in each group.
      fraction: wanted share of each class.
      rng: order in which groups are tried.

    Returns:
      (G,) booleans; none is True where no group can be spared.
    """
    counts = counts[:, counts.any(0)]
    total = counts.sum(0)

    def distance(inside):
        """Of class counts (…, K) from the wanted ones; infinite where a class would be used up."""
        squares = np.sum((inside / total - fraction) ** 2, axis=-1)
        return np.where(np.any(inside >= total, axis=-1), np.inf, squares)

    held, inside = np.zeros(len(counts), bool), np.zeros_like(total)
    for index in rng.permutation(len(counts)):
        if distance(inside + counts[index]) < distance(inside):
            held[index], inside = True, inside + counts[index]
    for _ in range(len(counts)):
        turned = inside + np.where(held, -1, 1)[:, None] * counts
        # Nothing held out is near enough to a small fraction, but chooses no strength.
        distances = np.where(turned.any(1), distance(turned), np.inf)
        best = int(np.argmin(distances))
        now = distance(inside) if held.any() else np.inf
        if not distances[best] < now - 1e-12:
            break
        held[best], inside = not held[best], turned[best]
    return held
