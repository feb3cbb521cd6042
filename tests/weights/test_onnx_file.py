"""The walk over an ONNX file, against the library onnx, which reads it whole."""

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from histo_simclr.weights import onnx_file

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
    outside, places = onnx_file.parts(tmp_path / "w.onnx")
    found = [onnx_file.tensor(tmp_path / "w.onnx", place) for place in places]
    assert found == list(model.graph.initializer)
    expected = onnx.ModelProto()
    expected.CopyFrom(model)
    expected.ClearField("graph")
    assert onnx.ModelProto.FromString(outside) == expected


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
def test_what_is_cut_or_changed_is_a_value_error_or_still_parts(model, data, tmp_path_factory):
    content = bytearray(model.SerializeToString())
    at = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        content = content[:at]
    else:
        content[at] ^= data.draw(st.integers(1, 255))
    path = tmp_path_factory.getbasetemp() / "changed.onnx"
    path.write_bytes(content)
    try:
        outside, places = onnx_file.parts(path)
    except ValueError:
        return
    assert len(outside) <= len(content)
    assert all(0 <= place.start <= place.stop <= len(content) for place in places)
