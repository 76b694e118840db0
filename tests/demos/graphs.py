"""Small ONNX networks for tests, written with onnx's own helper."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np


def write_graph(
    path: Path,
    nodes: list[Any],
    tensors: dict[str, np.ndarray],
    *,
    inputs: dict[str, list[int | str]],
    outputs: tuple[str, ...] = ("y",),
    opset: int = 18,
) -> Path:
    """Write a network of these nodes."""
    from onnx import TensorProto, helper, numpy_helper

    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info(k, TensorProto.FLOAT, v) for k, v in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in tensors.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    model.ir_version = 9  # what runtimes of the last years read
    path.write_bytes(model.SerializeToString())
    return path


def group_norm_steps(
    x: str, y: str, groups: int, channels: int, tensors: dict[str, np.ndarray], rng: Any
) -> list[Any]:
    """The six steps that PyTorch's exporter writes for a group normalisation of (m, C, h, w)."""
    from onnx import helper

    tensors |= {
        f"{y}.groups": np.array([0, groups, -1], np.int64),
        f"{y}.ones": np.ones(groups, np.float32),
        f"{y}.zeros": np.zeros(groups, np.float32),
        f"{y}.scale": rng.normal(size=(channels, 1, 1)).astype(np.float32),
        f"{y}.shift": rng.normal(size=(channels, 1, 1)).astype(np.float32),
    }
    make = helper.make_node
    return [
        make("Reshape", [x, f"{y}.groups"], [f"{y}.a"]),
        make("InstanceNormalization", [f"{y}.a", f"{y}.ones", f"{y}.zeros"], [f"{y}.b"]),
        make("Shape", [x], [f"{y}.s"]),
        make("Reshape", [f"{y}.b", f"{y}.s"], [f"{y}.c"]),
        make("Mul", [f"{y}.c", f"{y}.scale"], [f"{y}.d"]),
        make("Add", [f"{y}.d", f"{y}.shift"], [y]),
    ]
