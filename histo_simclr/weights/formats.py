"""Readers of the files that weights come in: each gives `Contents`, whatever the network.

What a file is, is told from its first bytes, not from its name.
"""

import json
import tokenize
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from histo_simclr.errors import InputError
from histo_simclr.weights import jax_program, onnx_file, saved_model, torch_file
from histo_simclr.weights import label as labels
from histo_simclr.weights.tensors import Stored, Tensors, in_torchs_order
from histo_simclr.weights.torch_values import Inert

# Entries that hold the weights, the likeliest first; of several, the others are named as left out.
WRAPPERS = ("state_dict", "model_state_dict", "model_state", "model", "net", "network")
FOLDER_FILES = ("model.safetensors", "pytorch_model.bin")
# First bytes of what is sent or saved in place of weights → what to say of it.
STRANGERS = {
    b"\xff\xd8\xff": "a JPEG image",
    b"\x89PNG": "a PNG image",
    b"\x89HDF": "an HDF5 file",
    b"\x1f\x8b": "compressed by gzip: unpack it first",
    b"\xfd7zXZ": "compressed by xz: unpack it first",
    b"BZh": "compressed by bzip2: unpack it first",
    b"7z\xbc\xaf": "a 7-Zip archive: unpack it first",
    b"version https://git-lfs": "a pointer of Git LFS, not the file: run `git lfs pull`",
    b"\x93NUMPY": "one numpy array",
    b"GGUF": "a GGUF file",
}
SAFETENSORS_DTYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U8": "uint8",
    "BOOL": "bool",
}
# What numpy and zipfile raise for changed bytes: headers are parsed as Python, members may say that
# they are encrypted, or compressed in some other way.
NPZ_DAMAGE = (OSError, ValueError, KeyError, EOFError, RuntimeError, MemoryError, SyntaxError)
NPZ_DAMAGE += (zipfile.BadZipFile, zlib.error, tokenize.TokenError)
GIVE = "give a torch, safetensors, npz or ONNX file of weights, or a folder of timm or Hugging Face"


class Contents(NamedTuple):
    """What a file of weights holds, before anybody asks what network it is.

    Fields:
      tensors: name in the file → array, read when asked for; `tensors.stored` has the shapes.
      label: what our own exports say of themselves (`weights/label.py`); None of other files.
      pretrained_cfg: timm's, of folders that have one.
      format: e.g. "torch zip", "safetensors", "timm folder".
      file: what holds the tensors: the file itself, or the one in the folder.
      left_out: names of entries beside the weights: optimizer, epoch, …
      others: names of other networks beside it, such as an average of its weights.
      arch: as the folder's config.json names it; "".
    """

    tensors: Tensors
    label: dict[str, Any] | None
    pretrained_cfg: dict[str, Any] | None
    format: str
    file: Path
    left_out: tuple[str, ...] = ()
    arch: str = ""
    others: tuple[str, ...] = ()


def of_torch(path: Path) -> Contents:
    """A file of torch.save; our own come with a label beside them, in FILE.json."""
    content = torch_file.read(path)
    state, left_out, others = _state_dict(content.value, path)
    label = _label_beside(path.with_name(f"{path.name}.json"))
    return Contents(Tensors(state), label, None, content.format, path, left_out, others=others)


def _label_beside(path: Path) -> dict[str, Any] | None:
    """Our label in a JSON file; None where there is none, or others put one of their own there."""
    if not path.is_file():
        return None
    try:
        text = path.read_bytes()
    except OSError as error:
        raise _torn(path, error) from error
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        if f'"{labels.KEY}"'.encode() in text:
            raise _torn(path, error) from error
        return None
    ours = isinstance(content, dict) and (labels.KEY in content or "model_sha256" in content)
    return _label(content, path) if ours else None


def _state_dict(
    value: Any, path: Path
) -> tuple[dict[str, Stored], tuple[str, ...], tuple[str, ...]]:
    """The dict of tensors within what torch.save was given; names of all else, of networks."""
    way_out = "save a state dict: torch.save(model.state_dict(), FILE)"
    if not isinstance(value, dict):
        what = (
            f"a whole object ({value.name})" if isinstance(value, Inert) else "no dict of tensors"
        )
        raise InputError(f"holds {what}", where=path, way_out=way_out)
    candidates = {"": value} | {
        key: entry
        for key, entry in value.items()
        if isinstance(key, str) and isinstance(entry, dict)
    }
    found = {key: each for key, each in candidates.items() if _is_network(each)}
    known = [key for key in ("", *WRAPPERS) if key in found]
    if not found:
        shown = ", ".join(str(key) for key in list(value)[:6] if isinstance(key, str))
        raise InputError(
            f"holds no convolution's weights (its entries: {shown or 'none'})",
            where=path,
            way_out=way_out,
        )
    if not known and len(found) > 1:
        raise InputError(
            f"holds several networks: {', '.join(found)}",
            where=path,
            way_out='save the one you mean alone: torch.save(content["NAME"], FILE)',
        )
    chosen = known[0] if known else next(iter(found))
    state = {
        key: entry
        for key, entry in found[chosen].items()
        if isinstance(key, str) and isinstance(entry, Stored)
    }
    left_out = [str(key) for key in found[chosen] if key not in state]
    if chosen:
        left_out += [str(key) for key in value if key != chosen]
    others = [key for key in found if key != chosen]
    return state, tuple(key for key in left_out if key not in others), tuple(others)


def _is_network(value: dict) -> bool:
    return any(isinstance(each, Stored) and len(each.shape) == 4 for each in value.values())


def of_safetensors(path: Path) -> Contents:
    """A safetensors file; our own label lies in its metadata."""
    import safetensors

    try:
        with safetensors.safe_open(path, "numpy") as file:
            metadata = file.metadata() or {}
            parts = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            stored = {name: _safetensor(path, name, part) for name, part in parts.items()}
    except (OSError, ValueError, KeyError, safetensors.SafetensorError) as error:
        raise _torn(path, error) from error
    text = metadata.get(labels.KEY)
    label = None if text is None else _label(_parsed(text, path), path)
    return Contents(Tensors(stored), label, None, "safetensors", path)


def _safetensor(path: Path, name: str, part: Any) -> Stored:
    code = part.get_dtype()
    dtype = SAFETENSORS_DTYPES.get(code, code)

    def read() -> np.ndarray:
        import safetensors

        try:
            # Opened anew: the library maps the file, and what was read of it would stay in memory.
            with safetensors.safe_open(path, "numpy") as file:
                array = file.get_tensor(name)
        except (OSError, ValueError, TypeError, safetensors.SafetensorError) as error:
            raise _torn(path, error) from error
        return array.astype(np.float32) if dtype == "bfloat16" else array

    return Stored(tuple(part.get_shape()), dtype, read)


def of_npz(path: Path) -> Contents:
    """Arrays of numpy.savez; our own label is one of them, as text."""
    try:
        archive = np.load(path, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise ValueError("one array, no archive of them")
        stored, label = {}, None
        for name in archive.files:
            if name == labels.KEY:
                label = _label(_parsed(str(archive[name]), path), path)
            else:
                stored[name] = _member(archive, name, path)
    except NPZ_DAMAGE as error:
        raise _torn(path, error) from error
    return Contents(Tensors(stored), label, None, "npz", path)


def _member(archive: Any, name: str, path: Path) -> Stored:
    with archive.zip.open(f"{name}.npy") as member:
        version = np.lib.format.read_magic(member)
        read_header = (
            np.lib.format.read_array_header_1_0
            if version == (1, 0)
            else np.lib.format.read_array_header_2_0
        )
        shape, _, dtype = read_header(member)

    def read() -> np.ndarray:
        try:
            return archive[name]
        except NPZ_DAMAGE as error:
            raise _torn(path, error) from error

    return Stored(shape, dtype.name, read)


def of_onnx(path: Path) -> Contents:
    """An ONNX program: its initializers, which in our own have torchvision's names.

    Its nodes are not looked at: weights are taken, the program is not run.
    """
    try:
        import onnx
    except ImportError as error:
        raise InputError(
            "is an ONNX program; the library onnx is missing",
            where=path,
            way_out='pip install "histo-simclr[onnx]"',
        ) from error
    try:
        metadata, places = onnx_file.parts(path)
        told = onnx.ModelProto.FromString(metadata).metadata_props
        stored = dict(_initializer(path, place) for place in places)
    except Exception as error:  # protobuf's own classes differ between its builds
        raise _torn(path, error) from error
    texts = {each.key: each.value for each in told}
    label = _label(_parsed(texts[labels.KEY], path), path) if labels.KEY in texts else None
    # Constants of the program that are no weights: normalization, shapes.
    left_out = () if label is None else tuple(name for name in stored if "." not in name)
    kept = {name: each for name, each in stored.items() if name not in left_out}
    return Contents(Tensors(kept), label, None, "ONNX", path, left_out)


def _initializer(path: Path, place: slice) -> tuple[str, Stored]:
    """Name and tensor of the TensorProto that lies there."""
    import onnx

    def read() -> np.ndarray:
        try:
            # Without base_dir: a tensor may name another file to be read; ours never do.
            array = onnx.numpy_helper.to_array(onnx_file.tensor(path, place))
        except Exception as error:
            raise _torn(path, error) from error
        return array.astype(np.float32) if array.dtype.name == "bfloat16" else array

    told = onnx_file.tensor(path, place)
    dtype = onnx.helper.tensor_dtype_to_np_dtype(told.data_type).name
    return told.name, Stored(tuple(told.dims), dtype, read)


def of_folder(path: Path) -> Contents:
    """A folder of timm or Hugging Face (config.json, and the weights beside it), or a program."""
    if (path / "saved_model.pb").is_file():
        return _of_saved_model(path)
    if (path / jax_program.PROGRAM).is_file():
        return _of_jax_program(path)
    files = [path / name for name in FOLDER_FILES if (path / name).is_file()]
    if not (path / "config.json").is_file() or not files:
        raise InputError(_folder_is(path), where=path, way_out=GIVE)
    stated = _json(path / "config.json")
    inner = of_safetensors(files[0]) if files[0].suffix == ".safetensors" else of_torch(files[0])
    label = inner.label
    if stated.get(labels.KEY) is not None:
        label = _label(stated, path / "config.json")
    _check_arguments(stated.get("model_args"), path / "config.json")
    pretrained = stated.get("pretrained_cfg")
    if label is not None and isinstance(pretrained, dict):
        _check_agreement(pretrained, label, path / "config.json")
    is_timm = isinstance(pretrained, dict)
    return inner._replace(
        label=label,
        pretrained_cfg=pretrained if is_timm else None,
        format="timm folder" if is_timm else "Hugging Face folder",
        arch=str(stated.get("architecture") or ""),
    )


def _of_saved_model(path: Path) -> Contents:
    """One of our own, which holds its weights under torchvision's names."""
    kind, label = "SavedModel", path / saved_model.LABEL
    _check_own(label, kind, path)
    stored = saved_model.stored_of(path)
    return Contents(Tensors(stored), _label(_json(label), label), None, kind, label)


def _of_jax_program(path: Path) -> Contents:
    """One of our own, whose weights lie beside it."""
    kind, label = "jax.export program", path / jax_program.LABEL
    _check_own(label, kind, path)
    inside = of_npz(path / jax_program.WEIGHTS).tensors.stored
    stored = {name: in_torchs_order(each) for name, each in inside.items()}
    return Contents(Tensors(stored), _label(_json(label), label), None, kind, label)


def _check_own(label: Path, kind: str, path: Path) -> None:
    if not label.is_file():
        raise InputError(
            f"is a {kind} that histo-simclr did not write: its tensors have no known names",
            where=path,
            way_out=GIVE,
        )


def _check_arguments(arguments: Any, where: Path) -> None:
    """Refuses other activations, strides and the like: another network of the same tensors."""
    if not isinstance(arguments, dict | None):
        raise InputError("model_args is no JSON object", where=where, way_out="get it anew")
    plain = {"num_classes": None, "in_chans": 3, "global_pool": "avg"}
    harmless = {"drop_rate", "drop_path_rate", "drop_block_rate", "zero_init_last"}
    odd = [
        f"{name}={value!r}"
        for name, value in (arguments or {}).items()
        if name not in harmless and not (name in plain and plain[name] in (None, value))
    ]
    if odd:
        raise InputError(
            f"is no plain ResNet: model_args {', '.join(odd)}",
            where=where,
            way_out="only torchvision's own ResNets can be imported",
        )


def _check_agreement(pretrained: dict[str, Any], label: dict[str, Any], where: Path) -> None:
    told = label.get("provenance")
    for name in ("mean", "std"):
        theirs, ours = pretrained.get(name), told.get(name) if isinstance(told, dict) else None
        if theirs is not None and ours is not None and theirs != ours:
            raise InputError(
                f"pretrained_cfg says {name} {theirs}, its label {ours}",
                where=where,
                way_out="get the folder anew; whoever changed it by hand, import the weights with "
                "--mean and --std instead",
            )


def _folder_is(path: Path) -> str:
    names = {entry.name for entry in path.iterdir()}
    if {"params", "metadata"} <= names or "checkpoints" in names:
        return "is a checkpoint of histo-simclr already: every command takes it as it is"
    return f"is a folder without config.json and {' or '.join(FOLDER_FILES)}"


def _label(content: Any, where: Path) -> dict[str, Any]:
    """Our label: as it is, under its key, or as JSON text under its key."""
    if isinstance(content, Mapping) and labels.KEY in content:
        content = content[labels.KEY]
    if isinstance(content, str):
        content = _parsed(content, where)
    if not isinstance(content, dict):
        raise InputError("its label is no JSON object", where=where, way_out="get the file anew")
    return content


def _json(path: Path) -> dict[str, Any]:
    try:
        content = _parsed(path.read_text(encoding="utf-8"), path)
    except (OSError, UnicodeDecodeError) as error:
        raise _torn(path, error) from error
    if not isinstance(content, dict):
        raise InputError("is no JSON object", where=path, way_out="get the file anew")
    return content


def _parsed(text: str, where: Path) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError("holds torn JSON", where=where, way_out="get the file anew") from error


def _torn(path: Path, error: BaseException) -> InputError:
    reason = str(error).strip().split("\n")[0][:150] or type(error).__name__
    return InputError(f"cannot be read: {reason}", where=path, way_out="get the file anew")
