"""Files that torch wrote, read without it; what we write, read by torch; damage and attacks."""

import hashlib
import io
import os
import pickle
import struct
import subprocess
import sys
import zipfile

import numpy as np
import pytest

from histo_simclr.errors import InputError
from histo_simclr.weights import torch_file
from histo_simclr.weights.tensors import Stored
from histo_simclr.weights.torch_values import Inert

NATIVE = ["ciga_native.ckpt", "ciga_native_legacy_format.ckpt"]
LIGHTNING = "ciga_lightning_needs_class.ckpt"


@pytest.fixture
def written(tmp_path):
    """A small file of every dtype that torch and numpy share, and what is in it."""
    rng = np.random.default_rng(1)
    arrays = {
        dtype: (rng.normal(size=(3, 4, 5)) * 10).astype(dtype)
        for dtype in ("float32", "float64", "float16", "int64", "int32", "int16", "int8", "uint8")
    }
    arrays |= {"flags": rng.random(7) < 0.5, "scalar": np.array(78100), "none": np.empty((0, 5))}
    torch_file.write(tmp_path / "a.pt", arrays)
    return tmp_path / "a.pt", arrays


def test_both_formats_of_torch_hold_the_same_tensors(ciga):
    new, old = (torch_file.read(ciga / name) for name in NATIVE)
    assert (new.format, old.format) == ("torch zip", "torch legacy")
    new, old = new.value["state_dict"], old.value["state_dict"]
    assert list(new) == list(old)
    assert len(new) == 124
    for name in new:
        assert new[name][:2] == old[name][:2]
        np.testing.assert_array_equal(new[name].read(), old[name].read())


def test_classes_that_are_not_installed_stay_names(ciga):
    content = torch_file.read(ciga / LIGHTNING).value
    (callback,) = content["callbacks"]
    assert isinstance(callback, Inert)
    assert callback.name == "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint"
    assert isinstance(content["hyper_parameters"], Inert)
    assert "pytorch_lightning" not in sys.modules
    lr = content["optimizer_states"][0]["param_groups"][0]["lr"]
    assert (content["epoch"], content["global_step"], lr) == (9, 7810, 0.6)


def test_what_is_written_is_read_back_and_needs_no_torch(written):
    path, arrays = written
    found = torch_file.read(path).value
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype.name
        np.testing.assert_array_equal(found[name].read(), array)
        assert found[name].read().shape == array.shape
    assert "torch" not in sys.modules


def test_one_array_is_one_tensor(tmp_path):
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    torch_file.write(tmp_path / "bag.pt", array.T)
    found = torch_file.read(tmp_path / "bag.pt").value
    assert isinstance(found, Stored)
    np.testing.assert_array_equal(found.read(), array.T)


def test_the_same_content_is_the_same_bytes(written, tmp_path):
    path, arrays = written
    torch_file.write(tmp_path / "b.pt", arrays)
    assert (tmp_path / "b.pt").read_bytes() == path.read_bytes()


READ_BY_TORCH = """
import hashlib
import sys
import torch
for mapped in (False, True):
    found = torch.load(sys.argv[1], weights_only=True, mmap=mapped)
    for name, tensor in found.items():
        digest = hashlib.sha256(tensor.contiguous().numpy().tobytes()).hexdigest()
        print(name, tensor.dtype, tuple(tensor.shape), digest)
torch.save({"a": torch.arange(6.0).reshape(2, 3).T, "b": torch.ones(3, dtype=torch.bfloat16)},
           sys.argv[1] + ".new")
"""


def test_torch_reads_what_is_written_and_the_other_way_round(written):
    pytest.importorskip("torch")
    path, arrays = written
    # In a process of its own: torch does not stand TensorFlow's libraries loaded before it.
    done = subprocess.run(
        [sys.executable, "-c", READ_BY_TORCH, str(path)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    expected = [
        f"{name} torch.{array.dtype.name} {array.shape} "
        f"{hashlib.sha256(array.tobytes()).hexdigest()}"
        for name, array in arrays.items()
    ]
    assert done.stdout.splitlines() == expected * 2
    found = torch_file.read(path.with_name("a.pt.new")).value
    np.testing.assert_array_equal(found["a"].read(), np.arange(6.0).reshape(2, 3).T)
    assert (found["b"].dtype, found["b"].read().tolist()) == ("bfloat16", [1, 1, 1])


def archive_of(path, pickled: bytes, **storages: bytes) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/version", b"3\n")
        for name, data in storages.items():
            archive.writestr(f"archive/data/{name}", data)


class Attack:
    """Runs a command when Python's own pickle loads it."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


def attack_by_exec(marker) -> bytes:
    """The same by `builtins.exec`, in opcodes."""
    code = f"open({str(marker)!r}, 'w').close()".encode()
    return b"\x80\x02cbuiltins\nexec\n(X" + struct.pack("<I", len(code)) + code + b"tR."


@pytest.mark.parametrize("kind", ["zip", "legacy", "state", "exec", "stack_global"])
def test_code_in_a_pickle_is_refused_and_does_not_run(tmp_path, kind):
    marker, path = tmp_path / "was_here", tmp_path / "evil.pth"
    evil = {
        "exec": attack_by_exec(marker),
        "state": pickle.dumps({"state_dict": {}, "x": Attack(marker)}, protocol=2),
        "stack_global": pickle.dumps(Attack(marker), protocol=4),
    }
    pickled = evil[kind] if kind in evil else pickle.dumps(Attack(marker), protocol=2)
    if kind == "legacy":
        path.write_bytes(pickled)
    else:
        archive_of(path, pickled)
    with pytest.raises(InputError, match=r"wants to use (posix|os|builtins)\.\w+.*nothing was run"):
        torch_file.read(path)
    assert not marker.exists()
    pickle.load(io.BytesIO(pickled))  # it would have run
    assert marker.exists()


def test_harmless_names_do_not_run_either(tmp_path):
    # __setstate__, __reduce__ and constructors of what is installed here: none is called.
    path = tmp_path / "a.pth"
    value = [pickle.PickleBuffer, np.random.default_rng(0), tmp_path, {1: frozenset({2})}]
    archive_of(path, pickle.dumps({"x": value[1:]}, protocol=2))
    found = torch_file.read(path).value["x"]
    assert [type(each) for each in found] == [Inert, Inert, dict]
    assert found[1].name.startswith("pathlib")


@pytest.mark.parametrize(
    "pickled",
    [
        b"",
        b"\x80\x02",
        b"\x80\x02}",
        b"\x80\x02R.",
        b"\x80\x02N(u.",
        b"\x80\x02}(K\x01u.",
        b"\x80\x02h\x05.",
        b"\x80\x02\x8a\xff.",
        b"\x80\x02X\xff\xff\xff\x7fabc.",
        b"\x80\x02K\x01" + b"\x86" * 3 + b".",
        b"\x80\x05\x97.",
        b"\x80\x02K\x01\x82.",
        b"S'\\xZZ'\n.",
        b"\x80\x02]h\x00q\x00.",
        # Tuples of tuples as a key: 2^60 steps to hash.
        b"\x80\x02}K\x01" + b"2\x86" * 60 + b"K\x01s.",
    ],
)
def test_a_torn_pickle_is_one_line(tmp_path, pickled):
    path = tmp_path / "a.pth"
    archive_of(path, pickled)
    with pytest.raises(InputError, match=r"cannot be read: its pickle.*get the file anew"):
        torch_file.read(path)


def tensor(size=4, offset=0, shape=(2, 2), strides=(2, 1), dtype="FloatStorage") -> bytes:
    """A pickle of one tensor whose numbers may be wrong."""
    storage = f"(X\x07\0\0\0storagectorch\n{dtype}\nX\x01\0\0\0kX\x03\0\0\0cpuI{size}\ntQ"
    body = f"ctorch._utils\n_rebuild_tensor_v2\n({storage}I{offset}\n("
    body += "".join(f"I{each}\n" for each in shape) + "t(" + "".join(f"I{e}\n" for e in strides)
    return b"\x80\x02" + body.encode() + b"t\x89ccollections\nOrderedDict\n)RtR."


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"offset": 1}, "reaches beyond its storage"),
        ({"shape": (3, 2)}, "reaches beyond its storage"),
        ({"shape": (2, 2, 2)}, "torn or changed"),
        ({"shape": (-2, 2)}, "torn or changed"),
        ({"strides": (-2, 1)}, "torn or changed"),
        ({"size": 40, "shape": (20, 2)}, "shorter than its tensors"),
        ({"size": -4}, "torn or changed"),
    ],
)
def test_a_tensor_cannot_reach_beyond_its_storage(tmp_path, wrong, says):
    path = tmp_path / "a.pth"
    archive_of(path, tensor(), k=bytes(16))
    assert torch_file.read(path).value.read().shape == (2, 2)
    archive_of(path, tensor(**wrong), k=bytes(16))
    with pytest.raises(InputError, match=says):
        torch_file.read(path).value.read()


def test_a_kind_of_numbers_that_is_unknown_stays_a_name(tmp_path):
    archive_of(tmp_path / "a.pth", tensor(dtype="QInt8Storage"), k=bytes(16))
    assert isinstance(torch_file.read(tmp_path / "a.pth").value, Inert)


def test_a_truncated_zip_is_one_line(written, tmp_path):
    data = written[0].read_bytes()
    for length in (4, 100, len(data) // 2, len(data) - 1):
        (tmp_path / "torn.pt").write_bytes(data[:length])
        with pytest.raises(InputError, match="its zip archive is torn"):
            torch_file.read(tmp_path / "torn.pt")


def test_a_flipped_bit_anywhere_in_a_zip_is_noticed_or_changes_nothing(written, tmp_path):
    path, arrays = written
    data = path.read_bytes()
    noticed = 0
    for at in range(0, len(data), 37):
        changed = bytearray(data)
        changed[at] ^= 0x10
        (tmp_path / "b.pt").write_bytes(changed)
        try:
            found = torch_file.read(tmp_path / "b.pt").value
            for name, array in arrays.items():
                np.testing.assert_array_equal(found[name].read(), array)
        except InputError:
            noticed += 1
    # Padding between members and their dates hold nothing.
    assert noticed > len(data) // 37 // 3


@pytest.mark.parametrize("share", [0.0001, 0.001, 0.3, 0.99999])
def test_a_truncated_legacy_file_is_one_line(ciga, tmp_path, share):
    data = (ciga / NATIVE[1]).read_bytes()
    (tmp_path / "torn.ckpt").write_bytes(data[: int(len(data) * share)])
    with pytest.raises(InputError, match=r"cannot be read: (its pickle|it ends)"):
        torch_file.read(tmp_path / "torn.ckpt")


def test_other_zips_and_pickles_are_told_apart(tmp_path):
    path = tmp_path / "a.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("word/document.xml", b"x")
    with pytest.raises(InputError, match="without torch's data.pkl"):
        torch_file.read(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("m/data.pkl", b"\x80\x02N.")
        archive.writestr("m/constants.pkl", b"\x80\x02N.")
    with pytest.raises(InputError, match="TorchScript"):
        torch_file.read(path)
    path.write_bytes(pickle.dumps({"weights": [1.0]}))
    with pytest.raises(InputError, match="not one of torch.save"):
        torch_file.read(path)


def test_an_optimizers_state_is_never_read(ciga, tmp_path):
    # Its members are cut out; the network's tensors are read all the same.
    path = tmp_path / "less.ckpt"
    whole = torch_file.read(ciga / LIGHTNING).value["state_dict"]
    with zipfile.ZipFile(ciga / LIGHTNING) as old, zipfile.ZipFile(path, "w") as new:
        zeros = [i for i in old.infolist() if "/data/" in i.filename and not any(old.read(i))]
        assert sum(info.file_size for info in zeros) > 40e6
        for info in old.infolist():
            if info.file_size < 1e5 or info not in zeros:
                new.writestr(info.filename, old.read(info))
    less = torch_file.read(path).value["state_dict"]
    for name in ("model.resnet.conv1.weight", "model.resnet.layer4.1.conv2.weight"):
        np.testing.assert_array_equal(less[name].read(), whole[name].read())
