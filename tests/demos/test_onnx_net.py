"""The ONNX loader against onnx's own reference implementation and against onnxruntime."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")

from onnx import helper  # noqa: E402

from tests.demos.graphs import group_norm_steps, write_graph  # noqa: E402
from widgetkit.demos.onnx_net import OnnxNet, load_onnx  # noqa: E402
from widgetkit.demos.onnx_ops import OPS  # noqa: E402
from widgetkit.errors import InvalidInput, UnknownName  # noqa: E402

RNG = np.random.default_rng(0)


def normal(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


W, B = {"w": normal(6, 4, 3, 3)}, {"b": normal(6)}
C4 = {"s": normal(4), "t": normal(4)}
X = (2, 4, 9, 10)

#: name -> (operator, further inputs by name, attributes, tensors, shape of x)
CASES: dict[str, tuple[str, list[str], dict[str, Any], dict[str, np.ndarray], tuple[int, ...]]] = {
    "conv": ("Conv", ["w", "b"], {"pads": [1, 1, 1, 1]}, W | B, X),
    "conv-stride": ("Conv", ["w"], {"strides": [2, 1], "dilations": [1, 2]}, W, X),
    "conv-uneven": ("Conv", ["w", "b"], {"pads": [0, 1, 2, 0], "strides": [2, 2]}, W | B, X),
    "conv-same": ("Conv", ["w"], {"auto_pad": "SAME_UPPER", "strides": [2, 2]}, W, X),
    "conv-same-lower": ("Conv", ["w"], {"auto_pad": "SAME_LOWER", "strides": [2, 2]}, W, X),
    "conv-valid": ("Conv", ["w"], {"auto_pad": "VALID"}, W, X),
    "conv-groups": ("Conv", ["w"], {"group": 2, "kernel_shape": [3, 3]}, {"w": normal(6, 2, 3, 3)}, X),
    "conv-1d": ("Conv", ["w"], {}, {"w": normal(3, 4, 3)}, (2, 4, 11)),
    "conv-3d": ("Conv", ["w"], {}, {"w": normal(3, 2, 2, 3, 3)}, (1, 2, 4, 6, 7)),
    "max": ("MaxPool", [], {"kernel_shape": [2, 3], "strides": [2, 2]}, {}, X),
    "max-pads": ("MaxPool", [], {"kernel_shape": [3, 3], "pads": [0, 1, 1, 1]}, {}, X),
    "average": ("AveragePool", [], {"kernel_shape": [3, 3], "strides": [2, 2]}, {}, X),
    "average-pads": ("AveragePool", [], {"kernel_shape": [3, 3], "pads": [1, 0, 1, 1]}, {}, X),
    "average-count": (
        "AveragePool", [], {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "count_include_pad": 1}, {}, X,
    ),
    "global": ("GlobalAveragePool", [], {}, {}, X),
    "resize-linear": (
        "Resize", ["", "f"], {"mode": "linear"}, {"f": np.float32([1, 1, 2, 2])}, X,
    ),
    "resize-uneven": (
        "Resize", ["", "f"], {"mode": "linear"}, {"f": np.float32([1, 1, 1.5, 3])}, X,
    ),
    "resize-corners": (
        "Resize", ["", "f"], {"mode": "linear", "coordinate_transformation_mode": "align_corners"},
        {"f": np.float32([1, 1, 2, 2])}, X,
    ),
    "resize-nearest": (
        "Resize", ["", "f"],
        {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"},
        {"f": np.float32([1, 1, 2, 3])}, X,
    ),
    "resize-exact": (
        "Resize", ["", "f"], {"mode": "nearest", "nearest_mode": "round_prefer_ceil"},
        {"f": np.float32([1, 1, 2, 1.5])}, (1, 2, 8, 8),
    ),
    "instance": ("InstanceNormalization", ["s", "t"], {"epsilon": 1e-3}, C4, X),
    "batch": (
        "BatchNormalization", ["s", "t", "m", "v"], {"epsilon": 1e-3},
        C4 | {"m": normal(4), "v": normal(4) ** 2}, X,
    ),
    "clip": ("Clip", ["l", "h"], {}, {"l": np.float32(-0.5), "h": np.float32(0.7)}, X),
    "clip-above": ("Clip", ["", "h"], {}, {"h": np.float32(0.7)}, X),
    "relu6": ("Clip", ["l", "h"], {}, {"l": np.float32(0), "h": np.float32(6)}, X),
    "mish": ("Mish", [], {}, {}, X),
    "relu": ("Relu", [], {}, {}, X),
    "leaky": ("LeakyRelu", [], {"alpha": 0.2}, {}, X),
    "sigmoid": ("Sigmoid", [], {}, {}, X),
    "softmax": ("Softmax", [], {"axis": 1}, {}, X),
    "identity": ("Identity", [], {}, {}, X),
    "add": ("Add", ["c"], {}, {"c": normal(4, 1, 1)}, X),
    "sub": ("Sub", ["c"], {}, {"c": normal(1)}, X),
    "mul": ("Mul", ["c"], {}, {"c": normal(4, 1, 1)}, X),
    "div": ("Div", ["c"], {}, {"c": np.float32([2.5])}, X),
    "twice": ("Mul", ["x"], {}, {}, X),
    "gemm": ("Gemm", ["w", "b"], {"transB": 1, "alpha": 0.5, "beta": 2.0}, {"w": normal(3, 5), "b": normal(3)}, (2, 5)),
    "gemm-plain": ("Gemm", ["w"], {}, {"w": normal(5, 3)}, (2, 5)),
    "matmul": ("MatMul", ["w"], {}, {"w": normal(10, 3)}, X),
    "reshape": ("Reshape", ["r"], {}, {"r": ints(0, 2, -1)}, X),
    "flatten": ("Flatten", [], {}, {}, X),
    "transpose": ("Transpose", [], {"perm": [0, 2, 3, 1]}, {}, X),
    "reverse": ("Transpose", [], {}, {}, X),
    "concat": ("Concat", ["x"], {"axis": 1}, {}, X),
}  # fmt: skip


def reference(path: Path, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    """What onnx's own implementation, in plain numpy, gives."""
    from onnx.reference import ReferenceEvaluator

    found: list[np.ndarray] = ReferenceEvaluator(str(path)).run(None, feeds)
    return found


def runtime(path: Path, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    """What onnxruntime gives."""
    session = pytest.importorskip("onnxruntime").InferenceSession(str(path))
    found: list[np.ndarray] = session.run(None, feeds)
    return found


@pytest.mark.parametrize("theirs", [reference, runtime])
@pytest.mark.parametrize("case", CASES)
def test_every_operator_equals(case: str, theirs: Callable[..., Any], tmp_path: Path) -> None:
    op, more, attributes, tensors, shape = CASES[case]
    node = helper.make_node(op, ["x", *more], ["y"], name="the-node", **attributes)
    path = write_graph(tmp_path / "net.onnx", [node], tensors, inputs={"x": list(shape)})
    x = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    with torch.no_grad():
        ours = load_onnx(path)(torch.from_numpy(x)).numpy()
    (expected,) = theirs(path, {"x": x})
    assert ours.shape == expected.shape
    np.testing.assert_allclose(ours, expected, rtol=2e-5, atol=2e-5)


def test_every_operator_is_tested() -> None:
    assert set(OPS) - {op for op, *_ in CASES.values()} == {"Shape", "GroupNormalization"}


def small_network(path: Path, **changes: Any) -> Path:
    """Convolution, group normalisation, Mish, a branch, Resize, a constant: SHELL in small."""
    tensors = {"w": normal(8, 3, 3, 3), "v": normal(8, 8, 1, 1), "f": np.float32([1, 1, 2, 2])}
    rng = np.random.default_rng(2)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["stem"], pads=[1, 1, 1, 1], strides=[2, 2]),
        *group_norm_steps("stem", "norm", 4, 8, tensors, rng),
        helper.make_node("Mish", ["norm"], ["act/1"]),
        helper.make_node("Conv", ["act/1", "v"], ["branch"]),
        helper.make_node("Add", ["branch", "stem"], ["sum"]),
        helper.make_node("Constant", [], ["half"], value_float=0.5),
        helper.make_node("Mul", ["sum", "half"], ["halved"]),
        helper.make_node("Resize", ["halved", "", "f"], ["y"], mode="linear"),
    ]
    return write_graph(path, nodes, tensors, inputs={"x": ["m", 3, "h", "w"]}, **changes)


@pytest.mark.parametrize("fuse", [True, False])
def test_a_network_equals_both(tmp_path: Path, fuse: bool) -> None:
    path = small_network(tmp_path / "net.onnx")
    x = np.random.default_rng(3).normal(size=(2, 3, 16, 24)).astype(np.float32)
    with torch.no_grad():
        ours = load_onnx(path, fuse=fuse)(torch.from_numpy(x)).numpy()
    for theirs in (reference, runtime):
        np.testing.assert_allclose(ours, theirs(path, {"x": x})[0], rtol=1e-4, atol=1e-4)


def test_six_steps_become_one_layer(tmp_path: Path) -> None:
    path = small_network(tmp_path / "net.onnx")
    fused, plain = load_onnx(path), load_onnx(path, fuse=False)
    assert len(plain.table()) - len(fused.table()) == 5
    assert isinstance(fused.norm, torch.nn.GroupNorm)
    assert fused.table()["name"].tolist() == [
        "stem", "norm", "act_1", "branch", "sum", "halved", "y",
    ]  # fmt: skip


def test_steps_that_match_in_part_stay(tmp_path: Path) -> None:
    """The normalised value is also read elsewhere, so the steps may not vanish."""
    tensors = {"w": normal(8, 3, 1, 1)}
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["stem"]),
        *group_norm_steps("stem", "norm", 4, 8, tensors, np.random.default_rng(0)),
        helper.make_node("Add", ["norm", "norm.c"], ["y"]),
    ]
    path = write_graph(tmp_path / "net.onnx", nodes, tensors, inputs={"x": [1, 3, 4, 4]})
    net = load_onnx(path)
    assert "GroupNormalization" not in net.table()["operator"].tolist()
    x = normal(1, 3, 4, 4)
    np.testing.assert_allclose(
        net(torch.from_numpy(x)).detach().numpy(), reference(path, {"x": x})[0], atol=1e-5
    )


def test_hooks_gradients_and_layers_work(tmp_path: Path) -> None:
    import widgetkit as wk
    from widgetkit.extraction import ModelContext

    net = load_onnx(small_network(tmp_path / "net.onnx"))
    table = wk.layers(net, (3, 16, 16)).set_index("name")
    assert table.loc["act_1", "shape"] == (8, 8, 8)
    assert table.loc["y", "shape"] == (8, 16, 16)
    images = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), np.uint8)
    pooled = torch.nn.Sequential(net, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    context = ModelContext(pooled, layer="0.act_1", device="cpu")
    activations, gradients = context.activations_and_gradients(images, target_class=1)
    assert activations.shape == gradients.shape == (2, 8, 8, 8)
    # d mean(y_1) / d act = v[1] * 0.5 over the positions: Resize by 2 keeps the mean of its input
    expected = net.branch.weight[1, :, 0, 0].detach().numpy() * 0.5
    np.testing.assert_allclose(gradients.sum(axis=(2, 3)), np.tile(expected, (2, 1)), rtol=1e-4)


def test_several_inputs_and_outputs(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Add", ["a", "b"], ["y"]),
        helper.make_node("MatMul", ["y", "b"], ["z"]),
    ]
    path = write_graph(
        tmp_path / "net.onnx", nodes, {}, inputs={"a": [2, 2], "b": [2, 2]}, outputs=("y", "z")
    )
    a, b = torch.randn(2, 2), torch.randn(2, 2)
    y, z = load_onnx(path)(a, b)
    assert torch.allclose(y, a + b) and torch.allclose(z, (a + b) @ b)
    with pytest.raises(InvalidInput, match="2 inputs"):
        load_onnx(path)(a)


def test_names_that_torch_uses_itself_are_changed(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Relu", ["x"], ["forward"]),
        helper.make_node("Relu", ["forward"], ["a.b"]),
        helper.make_node("Relu", ["a.b"], ["a_b"]),
        helper.make_node("Identity", ["a_b"], ["y"]),
    ]
    net = load_onnx(write_graph(tmp_path / "net.onnx", nodes, {}, inputs={"x": [1, 5]}))
    assert net.table()["name"].tolist() == ["forward_", "a_b", "a_b_", "y"]
    assert torch.equal(net(torch.tensor([[-1.0, 2.0]])), torch.tensor([[0.0, 2.0]]))


REFUSED = {
    "operator": (helper.make_node("Einsum", ["x"], ["y"], equation="ij->j", name="n1"), {}, "Einsum"),
    "attribute": (
        helper.make_node("MaxPool", ["x"], ["y"], kernel_shape=[2, 2], ceil_mode=1, name="n1"), {},
        "ceil_mode=1",
    ),
    "weight": (helper.make_node("Conv", ["x", "x"], ["y"], name="n1"), {}, "weight must be constant"),
    "mode": (
        helper.make_node("Resize", ["x", "", "f"], ["y"], mode="cubic", name="n1"),
        {"f": np.float32([1, 1, 2, 2])}, "mode='cubic'",
    ),
    "channels": (
        helper.make_node("Resize", ["x", "", "f"], ["y"], mode="linear", name="n1"),
        {"f": np.float32([1, 2, 2, 2])}, "channels",
    ),
    "outputs": (
        helper.make_node("MaxPool", ["x"], ["y", "where"], kernel_shape=[2, 2], name="n1"), {},
        "more than one",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_run_is_refused_by_name(case: str, tmp_path: Path) -> None:
    node, tensors, message = REFUSED[case]
    path = write_graph(tmp_path / "net.onnx", [node], tensors, inputs={"x": [1, 4, 8, 8]})
    with pytest.raises((InvalidInput, UnknownName), match=message) as error:
        load_onnx(path)
    assert "n1" in str(error.value)


def test_it_starts_in_evaluation_mode(tmp_path: Path) -> None:
    net = load_onnx(small_network(tmp_path / "net.onnx"))
    assert isinstance(net, OnnxNet) and not net.training
    assert not any(module.training for module in net.modules())
