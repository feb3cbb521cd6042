import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from histo_simclr.looks import drawing, nearest

NEAR, SLIDES, PATCHES = 3, 6, 5


@pytest.fixture
def drawn(monkeypatch):
    """What was given to be drawn."""
    calls = []
    monkeypatch.setattr(drawing, "neighbor_panels", lambda *given: calls.append(given))
    return calls


@pytest.fixture
def sample(make_sample):
    """Two tasks of two classes each; every patch has its number as its color."""
    count = SLIDES * PATCHES
    slide = np.repeat(np.arange(SLIDES), PATCHES)
    task = np.array(["a", "b"])[slide % 2]
    label = np.char.add(task, np.array([" tumor", " stroma"])[np.arange(count) % 2])
    patches = np.broadcast_to(
        np.arange(count, dtype=np.uint8)[:, None, None, None], (count, 4, 4, 3)
    )
    split = np.where(slide < 4, "test", "train")
    return make_sample(task, label, slide.astype(str), split=split, patches=patches)


def _features(sample):
    return np.random.default_rng(0).normal(size=(len(sample.row), 6)).astype(np.float32)


def test_neighbors_are_never_of_the_own_group(drawn, sample, tmp_path):
    """Although patches of a slide are made to lie nearest."""
    slide = sample.group.astype(int)
    features = _features(sample) + 20 * np.eye(6, dtype=np.float32)[slide]
    nearest.look(features, sample, tmp_path, queries=8, near=NEAR, seed=0)
    rows = drawn[0][0][:, :, 0, 0, 0]
    assert rows.shape == (8, 1 + NEAR)
    assert (slide[rows[:, 1:]] != slide[rows[:, :1]]).all()
    # As numpy has it: the most similar of the others, in that order.
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    for query, *others in rows.tolist():
        cosine = np.where(slide == slide[query], -2, unit @ unit[query])
        assert others == np.argsort(-cosine)[:NEAR].tolist()


def test_queries_are_test_patches_of_all_tasks_and_classes(drawn, sample, tmp_path):
    nearest.look(_features(sample), sample, tmp_path, queries=4, near=NEAR, seed=0)
    queries = drawn[0][0][:, 0, 0, 0, 0]
    assert set(sample.split[queries]) == {"test"}
    assert len(set(sample.label[queries])) == 4


def test_verdicts_and_captions_are_those_of_the_patches(drawn, sample, tmp_path):
    nearest.look(_features(sample), sample, tmp_path, queries=12, near=NEAR, seed=0)
    images, captions, verdicts, _ = drawn[0]
    seen = set()
    for line, words, said in zip(images[:, :, 0, 0, 0], captions, verdicts, strict=True):
        for row, caption in zip(line, words, strict=True):
            assert caption == f"{sample.cohort[row]}\n{sample.label[row]}"
        for row, verdict in zip(line[1:], said, strict=True):
            same = "same" if sample.label[row] == sample.label[line[0]] else "other"
            # Classes of the other task are not wrong; they do not compare.
            assert verdict == (same if sample.task[row] == sample.task[line[0]] else "")
            seen.add(str(verdict))
    assert seen == {"same", "other", ""}


def test_the_table_counts_neighbors_of_all_patches(drawn, sample, tmp_path):
    features = _features(sample)
    _, (table,) = nearest.look(features, sample, tmp_path, queries=4, near=NEAR, seed=0)
    ranked = (
        NearestNeighbors(metric="cosine")
        .fit(features)
        .kneighbors(features, len(features), return_distance=False)
    )
    for (task, patches, *shares), name in zip(table["rows"], "ab", strict=True):
        same, other = 0, 0
        for row in np.flatnonzero(sample.task == name):
            near = [each for each in ranked[row] if sample.group[each] != sample.group[row]][:NEAR]
            same += sum(sample.label[near] == sample.label[row])
            # Classes of the other task have other names.
            other += sum((sample.task[near] == name) & (sample.label[near] != sample.label[row]))
        assert (task, patches) == (name, "15")
        expected = (same / 45, other / 45, (same + other) / 45)
        assert shares == [f"{share:.1%}" for share in expected]
        assert 0 < same < 45


def test_patches_of_one_group_have_no_neighbors(drawn, sample, tmp_path):
    alike = sample._replace(group=np.full(len(sample.row), "one"))
    _, (table,) = nearest.look(_features(sample), alike, tmp_path, queries=2, near=NEAR, seed=0)
    assert [words[1:] for words in drawn[0][1]] == [[""] * NEAR] * 2
    assert [row[2:] for row in table["rows"]] == [["0.0%"] * 3] * 2


def test_long_names_are_cut_to_the_width_of_a_patch(sample):
    long = sample._replace(cohort=np.full(len(sample.row), "a cohort of a very long name"))
    assert nearest._caption(long, 0).split("\n")[0] == "a cohort of a v…"
