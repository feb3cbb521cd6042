import numpy as np
import pytest
from sklearn.metrics import adjusted_mutual_info_score

from histo_simclr.looks import drawing, montage

COUNT = 60


@pytest.fixture
def drawn(monkeypatch):
    """What was given to be drawn."""
    calls = []
    monkeypatch.setattr(drawing, "montage", lambda *given: calls.append(given))
    return calls


@pytest.fixture
def sample(make_sample):
    number = np.arange(COUNT)
    task = np.array(["a", "b"])[number % 2]
    label = np.array(["tumor", "stroma", "fat"])[number % 3]
    patches = np.broadcast_to(number.astype(np.uint8)[:, None, None, None], (COUNT, 4, 4, 3))
    return make_sample(task, label, number.astype(str), patches=patches)


def _blobs(labels):
    """One direction a label, and a little noise."""
    number = np.unique(labels, return_inverse=True)[1]
    noise = np.random.default_rng(0).normal(size=(COUNT, 8))
    return (10 * np.eye(8)[number] + 0.5 * noise).astype(np.float32)


def _scores(table):
    return {row[0]: float(row[3]) for row in table["rows"]}


def test_clusters_of_classes_agree_with_classes_and_clusters_of_cohorts_with_cohorts(
    drawn, sample, tmp_path
):
    options = {"typical": 4, "seed": 0}
    _, (table,) = montage.look(_blobs(sample.label), sample, tmp_path, count=3, **options)
    assert _scores(table)["class, a + b"] == 1
    assert _scores(table)["cohort"] < 0.05
    _, (table,) = montage.look(_blobs(sample.cohort), sample, tmp_path, count=2, **options)
    assert _scores(table)["class, a + b"] < 0.05
    assert _scores(table)["cohort"] == 1
    # All of one stain: nothing to agree with.
    assert "stain" not in _scores(table)


def test_montage_shows_patches_of_one_cluster_beside_what_it_is_made_of(drawn, sample, tmp_path):
    lopsided = np.where(np.arange(COUNT) < 40, "tumor", "stroma")
    sample = sample._replace(label=lopsided, cohort=np.full(COUNT, "pcam"))
    montage.look(_blobs(lopsided), sample, tmp_path, count=2, typical=4, seed=0)
    images, captions, _ = drawn[0]
    assert captions == ["40 patches\n100% pcam tumor", "20 patches\n100% pcam stroma"]
    for pictures, kind in zip(images, ("tumor", "stroma"), strict=True):
        assert len(pictures) == 4
        assert set(lopsided[pictures[:, 0, 0, 0]]) == {kind}


def test_typical_patches_lie_nearest_to_their_center_by_direction(drawn, sample, tmp_path):
    features = _blobs(sample.label)
    montage.look(features, sample, tmp_path, count=3, typical=5, seed=0)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    for pictures in drawn[0][0]:
        rows = pictures[:, 0, 0, 0]
        own = np.flatnonzero(sample.label == sample.label[rows[0]])
        distance = np.linalg.norm(unit[own] - unit[own].mean(0), axis=1)
        assert set(rows) == set(own[np.argsort(distance)[:5]])


def test_mixed_clusters_have_their_score_and_the_smallest_parts_summed_up(drawn, sample, tmp_path):
    label = np.array(list("abcdefgh"))[np.arange(COUNT) % 8]
    sample = sample._replace(label=label, task=np.full(COUNT, "t"), cohort=np.full(COUNT, "c"))
    features = np.random.default_rng(1).normal(size=(COUNT, 2)).astype(np.float32)
    _, (table,) = montage.look(features, sample, tmp_path, count=1, typical=2, seed=0)
    assert _scores(table) == {"class, t": adjusted_mutual_info_score(label, np.zeros(COUNT))}
    lines = drawn[0][1][0].split("\n")
    assert lines[0] == "60 patches"
    assert lines[1] == "13% c a"
    # e, f, g and h: 7 of the 60 each.
    assert lines[-1] == "47% others"
