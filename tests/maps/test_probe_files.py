import numpy as np
import pytest

from histo_simclr.errors import InputError
from histo_simclr.maps import probe_files
from histo_simclr.maps.probe_files import Probe

WHOLE = {"weights": np.ones((4, 2)), "bias": np.zeros(2), "classes": np.array(["a", "b"])}


@pytest.mark.parametrize("count", [2, 3])
def test_scikit_learns_probe_gives_its_probabilities(tmp_path, tissue_features, count):
    from sklearn.linear_model import LogisticRegression

    features = tissue_features(120, seed=0)
    labels = np.array(["normal", "tumor", "stroma"])[np.arange(120) % count]
    fitted = LogisticRegression().fit(features, labels)
    path = tmp_path / "probe.npz"
    np.savez(path, weights=fitted.coef_.T, bias=fitted.intercept_, classes=fitted.classes_)
    probe = probe_files.read(path)
    assert probe.classes == fitted.classes_.tolist()
    found = probe_files.probabilities(probe, features)
    np.testing.assert_allclose(found, fitted.predict_proba(features), atol=1e-6)


def test_what_is_written_is_read(tmp_path):
    probe = Probe(np.random.default_rng(0).normal(size=(5, 3)), np.arange(3.0), [*"xyz"], "ab" * 32)
    probe_files.write(tmp_path / "probe.npz", probe)
    found = probe_files.read(tmp_path / "probe.npz")
    np.testing.assert_array_equal(found.weights, probe.weights)
    np.testing.assert_array_equal(found.bias, probe.bias)
    assert found[2:] == probe[2:]
    assert [each.name for each in tmp_path.iterdir()] == ["probe.npz"]


def test_sure_probes_do_not_overflow():
    probe = Probe(np.array([[1e5, -1e5]]), np.zeros(2), ["a", "b"], "")
    found = probe_files.probabilities(probe, np.array([[1.0], [-1.0]], np.float32))
    np.testing.assert_array_equal(found, [[1, 0], [0, 1]])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"bias": None}, "lacks bias"),
        ({"bias": np.zeros(3)}, r"weights \(4, 2\) do not go with bias \(3,\)"),
        ({"weights": np.ones((4, 2), int)}, "do not go"),
        ({"classes": np.array(["a", "b", "c"])}, "3 classes for 2 columns"),
        ({"weights": np.full((4, 2), np.nan)}, "weights with NaN"),
        (
            {"weights": np.ones((4, 1)), "bias": np.zeros(1), "classes": np.array(["a"])},
            "1 classes; 2 to 32 can be shown",
        ),
    ],
)
def test_arrays_that_are_no_probe_are_one_clear_line(tmp_path, change, said):
    arrays = {name: value for name, value in (WHOLE | change).items() if value is not None}
    np.savez(tmp_path / "probe.npz", **arrays)
    with pytest.raises(InputError, match=said):
        probe_files.read(tmp_path / "probe.npz")


@pytest.mark.parametrize("content", [None, b"", b"PK\3\4 torn", b"<html>"])
def test_a_file_that_is_no_npz_is_one_clear_line(tmp_path, content):
    if content is not None:
        (tmp_path / "probe.npz").write_bytes(content)
    said = "no such file" if content is None else "no npz file, or a torn one"
    with pytest.raises(InputError, match=said):
        probe_files.read(tmp_path / "probe.npz")


def test_pickled_objects_in_it_are_not_run(tmp_path):
    class Trap:
        def __reduce__(self):
            return (tmp_path / "sprung").touch, ()

    np.savez(tmp_path / "probe.npz", **(WHOLE | {"classes": np.array([Trap(), Trap()])}))
    with pytest.raises(InputError, match="no npz file"):
        probe_files.read(tmp_path / "probe.npz")
    assert not (tmp_path / "sprung").exists()


def test_a_probe_of_another_encoder_is_refused():
    probe = Probe(np.ones((4, 2)), np.zeros(2), ["a", "b"], "ab" * 32)
    probe_files.check(probe, dimensions=4, model="ab" * 32, where="probe")
    probe_files.check(probe, dimensions=4, model="", where="probe")
    with pytest.raises(InputError, match="is for 4 features, the slides have 5"):
        probe_files.check(probe, dimensions=5, model="", where="probe")
    with pytest.raises(InputError, match="is for the encoder abababababab…, the slides' features"):
        probe_files.check(probe, dimensions=4, model="cd" * 32, where="probe")
