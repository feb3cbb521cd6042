"""What a file holds, whatever its format; and what is no file of weights."""

import json

import numpy as np
import pytest
import safetensors.numpy

from histo_simclr.errors import InputError
from histo_simclr.weights import foreign, torch_file

STATE = {
    "conv1.weight": np.arange(64 * 3 * 49, dtype=np.float32).reshape(64, 3, 7, 7),
    "bn1.weight": np.linspace(0.5, 1.5, 64, dtype=np.float32),
    "bn1.num_batches_tracked": np.array(7),
}
LABEL = {"format_version": 1, "provenance": {"arch": "resnet18"}}


def write_torch(path, *, label):
    torch_file.write(path, STATE)
    if label:
        path.with_name(f"{path.name}.json").write_text(json.dumps({"histo_simclr": label}))
    return path


def write_safetensors(path, *, label):
    metadata = {"format": "pt"} | ({"histo_simclr": json.dumps(label)} if label else {})
    safetensors.numpy.save_file(STATE, path, metadata=metadata)
    return path


def write_npz(path, *, label):
    np.savez(path, **STATE, **({"histo_simclr": np.array(json.dumps(label))} if label else {}))
    return path


def write_onnx(path, *, label):
    onnx = pytest.importorskip("onnx")
    ours = STATE | ({"mean": np.full(3, 0.5, np.float32)} if label else {})
    initializers = [onnx.numpy_helper.from_array(array, name) for name, array in ours.items()]
    graph = onnx.helper.make_graph([], "encoder", [], [], initializers)
    model = onnx.helper.make_model(graph)
    if label:
        onnx.helper.set_model_props(model, {"histo_simclr": json.dumps(label), "mean": "0.5"})
    onnx.save(model, path)
    return path


def write_timm(path, *, label):
    path.mkdir()
    write_safetensors(path / "model.safetensors", label=None)
    config = {"architecture": "resnet18", "pretrained_cfg": {"mean": [0.5] * 3, "std": [0.5] * 3}}
    config |= {"histo_simclr": label} if label else {}
    (path / "config.json").write_text(json.dumps(config))
    return path


WRITERS = {
    "torch zip": ("w.pth", write_torch),
    "safetensors": ("w.safetensors", write_safetensors),
    "npz": ("w.npz", write_npz),
    "ONNX": ("w.onnx", write_onnx),
    "timm folder": ("w", write_timm),
}


@pytest.mark.parametrize("label", [None, LABEL], ids=["foreign", "ours"])
@pytest.mark.parametrize("name", WRITERS)
def test_every_format_gives_the_same_tensors_and_its_label(name, label, tmp_path):
    file, write = WRITERS[name]
    found = foreign.tensors_of(write(tmp_path / file, label=label))
    assert found.format == name
    assert set(found.tensors) == set(STATE)
    for key, array in STATE.items():
        stored = found.tensors.stored[key]
        assert (stored.shape, stored.dtype) == (array.shape, array.dtype.name)
        np.testing.assert_array_equal(found.tensors[key], array)
    assert found.label == label
    assert (found.pretrained_cfg is not None) == (name == "timm folder")
    assert found.arch == ("resnet18" if name == "timm folder" else "")


def test_bfloat16_is_read_as_the_same_values(tmp_path):
    import ml_dtypes

    array = np.array([[1.5, -2.25], [3e38, 1e-30]], ml_dtypes.bfloat16)
    safetensors.numpy.save_file({"a": array}, tmp_path / "w.safetensors")
    found = foreign.tensors_of(tmp_path / "w.safetensors").tensors
    assert found.stored["a"].dtype == "bfloat16"
    assert found["a"].dtype == np.float32
    np.testing.assert_array_equal(found["a"], array.astype(np.float32))


def test_a_safetensors_header_of_any_length_is_none_of_a_pickle(tmp_path):
    firsts = set()
    for length in range(0, 256, 8):
        path = tmp_path / f"{length}.bin"
        safetensors.numpy.save_file(STATE, path, metadata={"a": "x" * length})
        firsts.add(path.read_bytes()[0])
        assert foreign.tensors_of(path).format == "safetensors"
    assert 0x80 in firsts  # with which a pickle begins


def test_a_hub_folder_with_torchs_file_is_read(tmp_path):
    write_torch(tmp_path / "pytorch_model.bin", label=None)
    (tmp_path / "config.json").write_text("{}")
    found = foreign.tensors_of(tmp_path)
    assert (found.format, found.file.name) == ("Hugging Face folder", "pytorch_model.bin")
    np.testing.assert_array_equal(found.tensors["bn1.weight"], STATE["bn1.weight"])


def test_entries_beside_the_weights_are_named(ciga):
    found = foreign.tensors_of(ciga / "ciga_lightning_needs_class.ckpt")
    assert len(found.tensors) == 124
    assert {"optimizer_states", "epoch", "callbacks"} <= set(found.left_out)


def nested(path, content):
    """A torch file of dicts of tensors: ours are flat, so names are joined and split again."""
    from histo_simclr.weights import formats
    from histo_simclr.weights.tensors import Stored

    def stored(value):
        if isinstance(value, dict):
            return {key: stored(each) for key, each in value.items()}
        return Stored(value.shape, value.dtype.name, lambda: value)

    return formats._state_dict(stored(content), path)


def test_of_several_networks_the_named_one_is_taken_or_none(tmp_path):
    state, *beside = nested(tmp_path, {"model": STATE, "ema": STATE, "optimizer": {}})
    assert (len(state), beside) == (3, [("optimizer",), ("ema",)])
    state, *beside = nested(tmp_path, {"teacher": STATE})
    assert (len(state), beside) == (3, [(), ()])
    with pytest.raises(InputError, match="holds several networks: student, teacher"):
        nested(tmp_path, {"student": STATE, "teacher": STATE})
    with pytest.raises(InputError, match="no convolution's weights"):
        nested(tmp_path, {"a": {"b": STATE["bn1.weight"]}})


STRANGERS = {
    b"": "is empty",
    b"\xff\xd8\xff\xe0JFIF": "a JPEG image",
    b"\x89PNG\r\n": "a PNG image",
    b"\x89HDF\r\n": "an HDF5 file",
    b"\x1f\x8b\x08": "compressed by gzip",
    b"  <!DOCTYPE html><html>": "a web page, not the file: the download failed",
    b"<html>": "a web page",
    b"<?xml version='1.0'?><Error>AccessDenied": "a web page",
    b"version https://git-lfs.github.com/spec/v1\n": "git lfs pull",
    b"hello": "not a file of weights that is known here",
    b"\x80": "its pickle is torn",
    b"PK\x03\x04": "its zip archive is torn",
    b"\x10\0\0\0\0\0\0\0{": "cannot be read",
}


@pytest.mark.parametrize("data", STRANGERS)
def test_what_is_no_file_of_weights_is_told_in_one_line(data, tmp_path):
    (tmp_path / "w.pth").write_bytes(data)
    with pytest.raises(InputError, match=STRANGERS[data]):
        foreign.tensors_of(tmp_path / "w.pth")


def test_folders_and_absent_files_say_what_to_give(tmp_path):
    with pytest.raises(InputError, match="No such file.*give a torch, safetensors"):
        foreign.tensors_of(tmp_path / "absent.pth")
    with pytest.raises(InputError, match="folder without config.json"):
        foreign.tensors_of(tmp_path)
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    with pytest.raises(InputError, match="is a checkpoint of histo-simclr already"):
        foreign.tensors_of(tmp_path / "run")
    for name, says in {"saved_model.pb": "is a SavedModel", "program.jax": "is a jax.exp"}.items():
        folder = tmp_path / name.replace(".", "_")
        folder.mkdir()
        (folder / name).write_bytes(b"program")
        with pytest.raises(InputError, match=f"{says}.*that histo-simclr did not write"):
            foreign.tensors_of(folder)


@pytest.mark.parametrize("name", ["safetensors", "npz", "ONNX"])
def test_a_torn_file_is_one_line(name, tmp_path):
    file, write = WRITERS[name]
    whole = write(tmp_path / file, label=LABEL).read_bytes()
    for share in (0.01, 0.5, 0.999):
        (tmp_path / file).write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(InputError, match="cannot be read|is torn"):
            dict(foreign.tensors_of(tmp_path / file).tensors)


def with_config(path, **changes):
    write_timm(path, label=None)
    stated = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(stated | changes))
    return path


@pytest.mark.parametrize(
    "arguments", [{"act_layer": "silu"}, {"output_stride": 8}, {"in_chans": 1}, [1]]
)
def test_a_network_that_timm_would_build_otherwise_is_refused(arguments, tmp_path):
    with pytest.raises(InputError, match="model_args"):
        foreign.tensors_of(with_config(tmp_path / "w", model_args=arguments))


def test_arguments_that_change_no_feature_are_accepted(tmp_path):
    arguments = {"num_classes": 7, "in_chans": 3, "global_pool": "avg", "drop_rate": 0.1}
    found = foreign.tensors_of(with_config(tmp_path / "w", model_args=arguments))
    assert set(found.tensors) == set(STATE)


@pytest.mark.parametrize("name", ["mean", "std"])
def test_a_folder_that_contradicts_its_label_is_refused(name, tmp_path):
    told = {"mean": [0.5] * 3, "std": [0.5] * 3}
    label = LABEL | {"provenance": told}
    assert foreign.tensors_of(with_config(tmp_path / "a", histo_simclr=label)).label == label
    label = LABEL | {"provenance": told | {name: [0.6] * 3}}
    with pytest.raises(InputError, match=f"pretrained_cfg says {name}"):
        foreign.tensors_of(with_config(tmp_path / "b", histo_simclr=label))


@pytest.mark.parametrize("content", ['{"epoch": 3}', "[1]", "{", "\n"])
def test_a_json_of_others_beside_a_torch_file_is_no_label(content, tmp_path):
    path = write_torch(tmp_path / "w.pth", label=None)
    (tmp_path / "w.pth.json").write_text(content)
    assert foreign.tensors_of(path).label is None


def test_a_torn_label_beside_a_torch_file_is_refused(tmp_path):
    path = write_torch(tmp_path / "w.pth", label=LABEL)
    beside = tmp_path / "w.pth.json"
    beside.write_text(beside.read_text()[:-2])
    with pytest.raises(InputError, match=r"w\.pth\.json: cannot be read"):
        foreign.tensors_of(path)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_an_npz_with_changed_bits_is_one_line_or_read(save, tmp_path):
    rng = np.random.default_rng(0)
    small = {name: array for name, array in STATE.items() if array.size < 100}
    save(tmp_path / "w.npz", **small)
    whole = (tmp_path / "w.npz").read_bytes()
    refused = 0
    for place in range(0, len(whole) * 8, 5):
        changed = bytearray(whole)
        changed[place // 8] ^= 1 << place % 8
        changed[rng.integers(len(whole))] ^= 1
        (tmp_path / "w.npz").write_bytes(changed)
        try:
            dict(foreign.tensors_of(tmp_path / "w.npz").tensors)
        except InputError:
            refused += 1
    assert refused > 100


@pytest.mark.parametrize("config", ["[]", "{", '{"histo_simclr": 3}', "\udcff"])
def test_a_torn_config_is_one_line(config, tmp_path):
    write_timm(tmp_path / "w", label=None)
    (tmp_path / "w/config.json").write_bytes(config.encode(errors="surrogateescape"))
    with pytest.raises(InputError, match="config.json"):
        foreign.tensors_of(tmp_path / "w")


def test_pickled_arrays_in_an_npz_are_refused(tmp_path):
    np.savez(tmp_path / "w.npz", a=np.array([{}], object))
    with pytest.raises(InputError, match="cannot be read"):
        dict(foreign.tensors_of(tmp_path / "w.npz").tensors)


def test_a_label_of_json_that_is_torn_is_refused(tmp_path):
    safetensors.numpy.save_file(STATE, tmp_path / "w.safetensors", metadata={"histo_simclr": "{"})
    with pytest.raises(InputError, match="torn JSON"):
        foreign.tensors_of(tmp_path / "w.safetensors")
