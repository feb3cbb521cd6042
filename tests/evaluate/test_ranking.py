import numpy as np
import pytest
from scipy import stats

from histo_simclr.evaluate import ranking

# Demšar 2006, table 6: AUC of C4.5, C4.5+m, C4.5+cf, C4.5+m+cf on 14 data sets. On the last but one
# it prints 0.975 twice, with ranks 2 and 3.
DEMSAR = np.array(
    [
        [0.763, 0.768, 0.771, 0.798],
        [0.599, 0.591, 0.590, 0.569],
        [0.954, 0.971, 0.968, 0.967],
        [0.628, 0.661, 0.654, 0.657],
        [0.882, 0.888, 0.886, 0.898],
        [0.936, 0.931, 0.916, 0.931],
        [0.661, 0.668, 0.609, 0.685],
        [0.583, 0.583, 0.563, 0.625],
        [0.775, 0.838, 0.866, 0.875],
        [1.000, 1.000, 1.000, 1.000],
        [0.940, 0.962, 0.965, 0.962],
        [0.619, 0.666, 0.614, 0.669],
        [0.972, 0.981, 0.975, 0.9749],
        [0.957, 0.978, 0.946, 0.970],
    ]
)
# Demšar 2006, table 5(a): q at 0.05 for 2 to 10 classifiers.
Q_05 = [1.960, 2.343, 2.569, 2.728, 2.850, 2.949, 3.031, 3.102, 3.164]
Q_10 = [1.645, 2.052, 2.291, 2.459, 2.589, 2.693, 2.780, 2.855, 2.920]


def test_ranks_are_those_of_the_paper():
    found = ranking.rank(DEMSAR, is_larger_better=True, level=0.05)
    np.testing.assert_allclose(found.ranks, [3.143, 2.000, 2.893, 1.964], atol=5e-4)
    assert found.tasks == 14


def test_critical_differences_are_those_of_the_paper():
    """Its section 3.2.2: 1.25 at 0.05; at 0.10 1.12, by which C4.5+m and C4.5 differ."""
    strict, loose = (
        ranking.rank(DEMSAR, is_larger_better=True, level=level) for level in (0.05, 0.10)
    )
    assert strict.critical_difference == pytest.approx(1.25, abs=0.005)
    assert loose.critical_difference == pytest.approx(1.12, abs=0.005)
    assert strict.alike == [(3, 1, 2, 0)]
    assert loose.alike == [(3, 1, 2), (2, 0)]


@pytest.mark.parametrize(("level", "table"), [(0.05, Q_05), (0.10, Q_10)])
def test_q_is_the_published_table(level, table):
    for encoders, q in enumerate(table, 2):
        scores = np.random.default_rng(encoders).random((7, encoders))
        found = ranking.rank(scores, is_larger_better=True, level=level)
        root = np.sqrt(encoders * (encoders + 1) / (6 * 7))
        assert found.critical_difference / root == pytest.approx(q, abs=1.1e-3), encoders


def test_friedman_is_scipys_and_near_the_papers():
    found = ranking.rank(DEMSAR, is_larger_better=True, level=0.05)
    expected = stats.friedmanchisquare(*DEMSAR.T)
    assert (found.statistic, found.p) == pytest.approx(tuple(expected))
    # The paper's 9.28 leaves out the correction for ties, which enlarges it.
    uncorrected = 12 * 14 / (4 * 5) * (np.sum(found.ranks**2) - 4 * 5**2 / 4)
    assert uncorrected == pytest.approx(9.28, abs=0.005)
    assert found.statistic > uncorrected


def test_smaller_errors_rank_first():
    found = ranking.rank(np.array([[0.1, 0.3], [0.2, 0.25]]), is_larger_better=False, level=0.05)
    assert found.ranks.tolist() == [1, 2]
    assert np.isnan(found.p)


def test_tasks_without_all_scores_are_left_out():
    scores = np.vstack([DEMSAR, [np.nan, 0.9, 0.9, 0.9]])
    found = ranking.rank(scores, is_larger_better=True, level=0.05)
    assert found.tasks == 14
    np.testing.assert_allclose(found.ranks, [3.143, 2.000, 2.893, 1.964], atol=5e-4)
    with pytest.raises(ValueError, match="0 whole tasks of 4"):
        ranking.rank(scores[-1:], is_larger_better=True, level=0.05)


def test_encoders_equal_everywhere_have_no_friedman_test():
    found = ranking.rank(np.full((4, 3), 0.5), is_larger_better=True, level=0.05)
    assert found.ranks.tolist() == [2, 2, 2]
    assert np.isnan(found.p)
    assert found.alike == [(0, 1, 2)]


def test_encoders_apart_are_in_no_common_set():
    scores = np.tile([0.9, 0.5, 0.1], (40, 1))
    assert ranking.rank(scores, is_larger_better=True, level=0.05).alike == []


def test_holm_by_hand():
    # Sorted 0.005 × 4, 0.01 × 3, 0.03 × 2, 0.04 × 1; none below the one before it.
    np.testing.assert_allclose(ranking.holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(ranking.holm([0.6, 0.7]), [1, 1])


def test_holm_leaves_out_what_was_not_tested():
    np.testing.assert_allclose(ranking.holm([0.01, float("nan"), 0.04]), [0.02, np.nan, 0.04])
    assert ranking.holm([]).shape == (0,)


def test_holm_is_statsmodels():
    # statsmodels 0.15.0: multipletests(p, method="holm")[1]
    p_values = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.324]
    expected = [0.001, 0.0036, 0.0152, 0.0665, 0.1206, 0.139, 0.139, 0.139, 0.139, 0.324]
    np.testing.assert_allclose(ranking.holm(p_values), expected, rtol=1e-12)
