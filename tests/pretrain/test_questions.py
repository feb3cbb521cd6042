"""What is asked of the features, against scikit-learn; and of which patches."""

import shutil
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from histo_simclr import records
from histo_simclr.errors import InputError
from histo_simclr.evaluate import knn, splits
from histo_simclr.pretrain import questions

SAMPLE = Path(__file__).parents[2] / "data/sample"
PART = {"split": "train", "holdout": 0.3, "neighbors": 5, "strength": 10.0, "seed": 0}
PART |= {"test_split": "test"}


@pytest.fixture(scope="module")
def mix():
    return records.load_mix(SAMPLE / "mix")[0]


@pytest.fixture(scope="module")
def tissue():
    return questions.about_tissue(str(SAMPLE / "records/osteosarcoma"), patches=150, **PART)


@pytest.fixture(scope="module")
def features(tissue):
    rng = np.random.default_rng(1)
    centers = rng.normal(size=(len(tissue.classes), 12))
    noise = 1.5 * rng.normal(size=(len(tissue.labels), 12))
    return (centers[tissue.labels] + noise).astype(np.float32)


def test_knn_and_probe_are_scikit_learns(tissue, features):
    from sklearn.linear_model import RidgeClassifier
    from sklearn.metrics import recall_score
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    held = tissue.held
    nearest = KNeighborsClassifier(
        5, metric="cosine", weights=lambda distance: np.exp((1 - distance) / knn.TEMPERATURE)
    )
    ridge = make_pipeline(StandardScaler(), RidgeClassifier(10.0))
    answers = tissue.ask(features)
    for name, judge in (("online_knn", nearest), ("online_probe", ridge)):
        said = judge.fit(features[~held], tissue.labels[~held]).predict(features[held])
        # As balanced_accuracy_score, which warns where a class was said that is not in the truth.
        truth = tissue.labels[held]
        expected = recall_score(truth, said, labels=np.unique(truth), average="macro")
        assert answers[name] == pytest.approx(expected), name
        assert 1 / 3 < expected < 1, name
    assert answers["online_chance"] == pytest.approx(1 / 3)


def test_votes_are_those_of_the_knn_protocol(tissue, features):
    fitted, judged = features[~tissue.held], features[tissue.held]
    labels = tissue.labels[~tissue.held]
    votes = questions._votes(fitted, judged, np.eye(3)[labels], 7)
    shares = knn.predict(
        fitted, judged, labels=labels, num_classes=3, neighbors=(7,), temperature=knn.TEMPERATURE
    )
    np.testing.assert_allclose(votes / votes.sum(1, keepdims=True), shares[0], atol=1e-5)


def test_more_neighbors_than_patches_are_all_of_them(tissue, features):
    assert 0 < tissue._replace(neighbors=10_000).ask(features)["online_knn"] < 1


def test_patients_are_held_out_whole_and_the_draw_depends_on_the_seed_alone(tissue):
    part = records.load_record_set(SAMPLE / "records/osteosarcoma", "train")
    patients = part.columns["patient"][tissue.chosen]
    assert tissue.unit == "patient"
    assert not set(patients[tissue.held]) & set(patients[~tissue.held])
    assert len(np.unique(tissue.chosen)) == 150
    again = questions.about_tissue(str(SAMPLE / "records/osteosarcoma"), patches=150, **PART)
    np.testing.assert_array_equal(again.chosen, tissue.chosen)
    np.testing.assert_array_equal(again.held, tissue.held)
    named = part.columns["label"][tissue.chosen]
    assert [tissue.classes[number] for number in tissue.labels] == named.tolist()
    assert tissue.describe().startswith("kNN and probe of 3 classes")


def test_of_a_set_without_patients_patches_are_held_out_and_it_says_so():
    asked = questions.about_tissue(str(SAMPLE / "records/pcam"), patches=10_000, **PART)
    assert len(asked.chosen) == 2000
    assert asked.held.sum() == 600
    assert "1,400 patches fitted, 600 judged, held out by patch" in asked.describe()


@pytest.fixture
def one_class(tmp_path):
    place = tmp_path / "one_class/1.0.0"
    shutil.copytree(SAMPLE / "records/osteosarcoma/1.0.0", place)
    table = pyarrow.parquet.read_table(place / "manifest.parquet")
    kept = pyarrow.compute.equal(table["label"], "non_tumor")
    pyarrow.parquet.write_table(table.filter(kept), place / "manifest.parquet")
    return place


@pytest.mark.parametrize(
    ("path", "changed", "message"),
    [
        ("pcam", {"split": "test"}, r"config\.online\.split: 'test' is what the evaluation judges"),
        ("pcam", {"split": "valid"}, r"config\.online\.records: .*no split 'valid', only test, tr"),
        ("brecahad", {}, r"config\.online\.records: .*record set without labels"),
        ("absent", {}, r"config\.online\.records: .*no such record set"),
        ("pcam", {"patches": 1}, r"config\.online\.patches: .*one example"),
        (None, {}, r"config\.online\.records: .*only one class \(non_tumor\)"),
    ],
)
def test_what_cannot_be_asked_is_refused_with_its_key(path, changed, message, one_class):
    place = str(SAMPLE / "records" / path) if path else str(one_class)
    with pytest.raises(InputError, match=message):
        questions.about_tissue(place, **{"patches": 50} | PART | changed)


@pytest.fixture(scope="module")
def cohorts(mix):
    return questions.about_cohorts(
        mix, SAMPLE / "mix", patches=300, neighbors=10, seed=0, max_corrupt=0.1
    )


def test_the_cohorts_are_those_of_the_patches(mix, cohorts):
    index = records.read_parquet(SAMPLE / "mix/index.parquet")
    assert len(np.unique(cohorts.chosen)) == 300
    np.testing.assert_array_equal(cohorts.cohorts, index["cohort"][cohorts.chosen])
    assert (cohorts.rows, cohorts.max_corrupt) == (mix, 0.1)


def test_a_planted_batch_effect_leaves_no_neighbor_from_another_cohort(cohorts):
    rng = np.random.default_rng(0)
    names, groups = np.repeat(["a", "b"], [60, 40]), np.arange(100).astype(str)
    asked = cohorts._replace(chosen=np.arange(100), cohorts=names, groups=groups)
    noise = rng.normal(size=(100, 64))
    blind = asked.ask(noise)
    # Of 99 others 40 are of another cohort for 60 patches, 60 for 40.
    assert blind["online_other_cohort_expected"] == pytest.approx(0.6 * 40 / 99 + 0.4 * 60 / 99)
    # 1,000 neighbors: the standard deviation is 0.016 at least.
    assert blind["online_other_cohort"] == pytest.approx(48 / 99, abs=0.1)
    shift = np.where(names == "a", 50, -50)[:, None] * np.eye(64)[0]
    told = asked.ask(noise + shift)
    assert told["online_other_cohort"] < 0.01
    assert told["online_other_cohort_expected"] == blind["online_other_cohort_expected"]


def write_index(folder: Path, **columns: list[str]) -> Path:
    folder.mkdir()
    pyarrow.parquet.write_table(pyarrow.table(columns), folder / "index.parquet")
    return folder


def test_patients_of_two_cohorts_are_two_though_named_alike(mix, tmp_path):
    place = write_index(
        tmp_path / "mix", cohort=["a", "b"] * 2, slide=[""] * 4, patient=["1", "1", "1", "2"]
    )
    drawn = {"patches": 4, "neighbors": 1, "seed": 0, "max_corrupt": 0.0}
    asked = questions.about_cohorts(mix.take(np.arange(4)), place, **drawn)
    assert len(np.unique(asked.groups)) == 3
    assert asked.groups[0] == asked.groups[2]


def test_of_a_single_cohort_nothing_is_asked(mix, tmp_path):
    place = write_index(tmp_path / "mix", cohort=["a"] * 4, slide=[""] * 4, patient=[""] * 4)
    drawn = {"patches": 4, "neighbors": 1, "seed": 0, "max_corrupt": 0.0}
    assert questions.about_cohorts(mix.take(np.arange(4)), place, **drawn) is None


def test_nothing_is_asked_where_nothing_is_configured(mix):
    settings = PART | {"max_corrupt": 0.0, "patches": 50}
    for labelled, mixed, count in (("", 0, 0), ("", 50, 1), (SAMPLE / "records/pcam", 50, 2)):
        asked = questions.about(
            mix, SAMPLE / "mix", records=str(labelled), mix_patches=mixed, **settings
        )
        assert len(asked) == count


def test_the_judged_part_is_of_the_training_split_alone():
    asked = questions.about_tissue(str(SAMPLE / "records/pcam"), patches=10_000, **PART)
    test = records.load_record_set(SAMPLE / "records/pcam", "test").rows
    assert not set(asked.rows.shards) & set(test.shards)


def test_groups_come_from_the_drawn_rows():
    """A group that was not drawn must not count as one that can be spared."""
    asked = questions.about_tissue(str(SAMPLE / "records/osteosarcoma"), patches=40, **PART)
    part = records.load_record_set(SAMPLE / "records/osteosarcoma", "train")
    groups = splits.groups_of(part.columns).names[asked.chosen]
    assert len(np.unique(groups[asked.held])) + len(np.unique(groups[~asked.held])) == len(
        np.unique(groups)
    )
