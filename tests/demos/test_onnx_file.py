"""Reading ONNX files that lie."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from tests.demos.graphs import write_graph  # noqa: E402
from widgetkit.demos.onnx_file import read_onnx  # noqa: E402
from widgetkit.errors import InvalidInput  # noqa: E402

WEIGHT = np.arange(12, dtype=np.float32).reshape(3, 4, 1, 1)


def model_with(tensor: Any, **changes: Any) -> Any:
    """A network of one convolution whose weight is this tensor."""
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["y"], name="conv")],
        "test",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4, 5, 5])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [tensor],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], **changes)


def outside(location: str, **entries: object) -> Any:
    """A tensor that is said to be in another file."""
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=WEIGHT.shape)
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **entries}.items():
        tensor.external_data.add(key=key, value=str(value))
    return tensor


def written(folder: Path, tensor: Any) -> Path:
    path = folder / "net.onnx"
    path.write_bytes(model_with(tensor).SerializeToString())
    return path


def test_tensors_inside_and_outside_are_read(tmp_path: Path) -> None:
    inside = read_onnx(written(tmp_path, numpy_helper.from_array(WEIGHT, "w")))
    np.testing.assert_array_equal(inside.tensors["w"], WEIGHT)
    (tmp_path / "weights.bin").write_bytes(b"pad!" + WEIGHT.tobytes())
    out = read_onnx(written(tmp_path, outside("weights.bin", offset=4, length=48)))
    np.testing.assert_array_equal(out.tensors["w"], WEIGHT)
    assert out.inputs == ("x",) and out.outputs == ("y",) and out.opset == 18


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int32", "int64", "bool"])
def test_kinds_of_numbers(tmp_path: Path, dtype: str) -> None:
    values = np.arange(6).reshape(2, 3).astype(dtype)
    node = helper.make_node("Identity", ["x"], ["y"])
    path = write_graph(tmp_path / "net.onnx", [node], {"w": values}, inputs={"x": [1]})
    found = read_onnx(path).tensors["w"]
    assert found.dtype == values.dtype
    np.testing.assert_array_equal(found, values)


def test_values_written_as_numbers(tmp_path: Path) -> None:
    tensor = helper.make_tensor("w", TensorProto.FLOAT, WEIGHT.shape, WEIGHT.ravel())
    np.testing.assert_array_equal(read_onnx(written(tmp_path, tensor)).tensors["w"], WEIGHT)
    del tensor.float_data[-1]
    with pytest.raises(InvalidInput, match="needs 12 values; the file has 11"):
        read_onnx(written(tmp_path, tensor))


def test_a_file_kept_elsewhere_can_be_given(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    path = written(folder, outside("weights.bin"))
    other = tmp_path / "0.9.1-weights.bin"
    other.write_bytes(WEIGHT.tobytes())
    with pytest.raises(InvalidInput, match="data="):
        read_onnx(path)
    found = read_onnx(path, data={"weights.bin": other})
    np.testing.assert_array_equal(found.tensors["w"], WEIGHT)


@pytest.mark.parametrize(
    "location",
    [
        "../secret.bin",
        "/etc/passwd",
        "a/../../secret.bin",
        "..\\secret.bin",
        "C:secret.bin",
        "",
        ".",
        "link",
    ],
)
def test_nothing_outside_the_folder_is_read(tmp_path: Path, location: str) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "secret.bin").write_bytes(WEIGHT.tobytes())
    (folder / "link").symlink_to(tmp_path / "secret.bin")
    with pytest.raises(InvalidInput, match="own folder"):
        read_onnx(written(folder, outside(location)))


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"length": 44}, "48 bytes; the file has 44"),
        ({"offset": 1}, "beyond the end"),
        ({"offset": -4}, "beyond the end"),
        ({"offset": "many"}, "no number"),
    ],
)
def test_sizes_outside_are_checked(
    tmp_path: Path, entries: dict[str, object], message: str
) -> None:
    (tmp_path / "weights.bin").write_bytes(WEIGHT.tobytes())
    with pytest.raises(InvalidInput, match=message):
        read_onnx(written(tmp_path, outside("weights.bin", **entries)))


@pytest.mark.parametrize("dims", [(2**40,), (2**31, 2**31, 4), (-1, 4), (1,) * 40])
def test_sizes_that_nobody_has_are_refused_before_allocation(tmp_path: Path, dims: Any) -> None:
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=dims, raw_data=b"\0" * 16)
    with pytest.raises(InvalidInput, match="'w'"):
        read_onnx(written(tmp_path, tensor))


def test_all_tensors_together_have_a_limit(tmp_path: Path) -> None:
    path = written(tmp_path, numpy_helper.from_array(WEIGHT, "w"))
    with pytest.raises(InvalidInput, match="most_bytes"):
        read_onnx(path, most_bytes=40)


def test_text_and_other_kinds_are_refused(tmp_path: Path) -> None:
    tensor = TensorProto(name="w", data_type=TensorProto.STRING, dims=(1,))
    with pytest.raises(InvalidInput, match="element type"):
        read_onnx(written(tmp_path, tensor))


def changed(tmp_path: Path, change: Any) -> Path:
    model = model_with(numpy_helper.from_array(WEIGHT, "w"))
    change(model)
    path = tmp_path / "net.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def _old(model: Any) -> None:
    model.opset_import[0].version = 9


def _foreign(model: Any) -> None:
    model.graph.node[0].domain = "com.other"


def _branch(model: Any) -> None:
    model.graph.node[0].attribute.append(helper.make_attribute("then", model.graph))


def _unmade(model: Any) -> None:
    model.graph.node[0].input[0] = "nowhere"


def _twice(model: Any) -> None:
    model.graph.node.add(op_type="Relu", input=["y"], output=["y"], name="again")


def _no_output(model: Any) -> None:
    model.graph.output[0].name = "z"


def _empty(model: Any) -> None:
    del model.graph.node[:]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_old, "operator set 9"), (_foreign, "com.other"), (_branch, "graph inside"),
        (_unmade, "'nowhere'"), (_twice, "made twice"), (_no_output, "'z'"), (_empty, "no network"),
    ],
)  # fmt: skip
def test_networks_that_cannot_be_run_are_refused(tmp_path: Path, change: Any, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        read_onnx(changed(tmp_path, change))


def test_no_file_and_no_onnx(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="no file"):
        read_onnx(tmp_path / "absent.onnx")
    (tmp_path / "text.onnx").write_text("not a network")
    with pytest.raises(InvalidInput, match=r"not an ONNX file|no network"):
        read_onnx(tmp_path / "text.onnx")


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_damaged_files_never_do_more_than_fail(tmp_path_factory: Any, data: Any) -> None:
    good = model_with(numpy_helper.from_array(WEIGHT, "w")).SerializeToString()
    damaged = bytearray(good[: data.draw(st.integers(0, len(good)))])
    for _ in range(data.draw(st.integers(0, 3))):
        if damaged:
            damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("damaged") / "net.onnx"
    path.write_bytes(bytes(damaged))
    try:
        graph = read_onnx(path, most_bytes=10**6)
    except InvalidInput:
        return
    assert sum(tensor.nbytes for tensor in graph.tensors.values()) <= 10**6
