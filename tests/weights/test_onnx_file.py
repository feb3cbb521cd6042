"""The walk over an ONNX file, against the library onnx, which reads it whole."""

import numpy as np
import onnx
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st

from histo_simclr.errors import InputError
from histo_simclr.weights import foreign, onnx_file

ARRAYS = {
    "layer4.0.conv1.weight": np.linspace(-1, 1, 300 * 5 * 3 * 3, dtype=np.float32),
    "bn1.weight": np.arange(7, dtype=np.float16),
    "empty": np.zeros((0, 4), np.float32),
    "long": np.arange(3, dtype=np.int64),
}


@pytest.fixture(scope="module")
def model():
    initializers = [onnx.numpy_helper.from_array(array, name) for name, array in ARRAYS.items()]
    # Beside raw bytes, values as packed floats.
    initializers.append(onnx.helper.make_tensor("floats", onnx.TensorProto.FLOAT, [2], [1.5, -2]))
    node = onnx.helper.make_node("Identity", ["bn1.weight"], ["y"], alpha=0.5)
    graph = onnx.helper.make_graph([node], "µ", [], [], initializers, doc_string="x" * 200)
    made = onnx.helper.make_model(graph, producer_name="other", model_version=-1)
    onnx.helper.set_model_props(made, {"key": "value" * 100})
    return made


def test_the_parts_are_those_that_onnx_reads(model, tmp_path):
    onnx.save(model, tmp_path / "w.onnx")
    metadata, places = onnx_file.parts(tmp_path / "w.onnx")
    found = [onnx_file.tensor(tmp_path / "w.onnx", place) for place in places]
    assert found == list(model.graph.initializer)
    told = onnx.ModelProto.FromString(metadata)
    assert told.metadata_props == model.metadata_props
    assert [field.name for field, _ in told.ListFields()] == ["metadata_props"]


def test_a_graph_in_two_pieces_is_one_as_protocol_buffers_have_it(model, tmp_path):
    other = onnx.ModelProto()
    other.graph.initializer.append(onnx.numpy_helper.from_array(np.ones(3), "second"))
    content = model.SerializeToString() + other.SerializeToString()
    (tmp_path / "w.onnx").write_bytes(content)
    _, places = onnx_file.parts(tmp_path / "w.onnx")
    found = [onnx_file.tensor(tmp_path / "w.onnx", place).name for place in places]
    assert found == [each.name for each in onnx.ModelProto.FromString(content).graph.initializer]


@settings(deadline=None, max_examples=300)
@given(data=st.data())
def test_what_is_cut_or_changed_is_read_or_one_clear_error(model, data, tmp_path_factory):
    content = bytearray(model.SerializeToString())
    at = data.draw(st.integers(1, len(content) - 1))
    if data.draw(st.booleans()):
        content = content[:at]
    else:
        content[at] ^= data.draw(st.integers(1, 255))
    path = tmp_path_factory.getbasetemp() / "changed.onnx"
    path.write_bytes(content)
    try:
        read = dict(foreign.tensors_of(path).tensors)
    except InputError:
        return
    try:
        whole = onnx.ModelProto.FromString(bytes(content)).graph.initializer
    except DecodeError:
        return  # something else than tensors, which is not looked at
    for each in whole:
        if each.name in read:
            np.testing.assert_array_equal(read[each.name], onnx.numpy_helper.to_array(each))


def test_bytes_that_look_like_endless_fields_are_refused_at_once(tmp_path):
    (tmp_path / "w.onnx").write_bytes(b"\x08" * 4_000_000)
    with pytest.raises(InputError, match="too many fields"):
        foreign.tensors_of(tmp_path / "w.onnx")


def test_a_model_without_a_graph_is_refused(model, tmp_path):
    model = onnx.ModelProto.FromString(model.SerializeToString())
    model.ClearField("graph")
    onnx.save(model, tmp_path / "w.onnx")
    with pytest.raises(InputError, match="it holds no graph"):
        foreign.tensors_of(tmp_path / "w.onnx")
