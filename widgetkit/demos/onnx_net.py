"""A network from an ONNX file as a torch module: every step a layer with a name, differentiable.

Small on purpose: the operators of plain convolutional networks (:data:`OPS`), and a clear refusal
of the rest. Maps, hooks, gradients and :func:`widgetkit.extract` work on it as on any torch network.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping

import numpy as np
import pandas as pd
from torch import Tensor, nn

from widgetkit.demos.onnx_file import MOST_BYTES, Graph, Node, read_onnx
from widgetkit.demos.onnx_fuse import fuse_group_norm
from widgetkit.demos.onnx_ops import OPS
from widgetkit.errors import InvalidInput, UnknownName


def load_onnx(
    path: str | os.PathLike[str],
    *,
    data: Mapping[str, str | os.PathLike[str]] | None = None,
    most_bytes: int = MOST_BYTES,
    fuse: bool = True,
) -> OnnxNet:
    """The network of an ONNX file, in evaluation mode, in float32.

    Parameters
    ----------
    path : path
        ``.onnx``; its tensors may be in other files of the same folder.
    data : mapping, optional
        Where files of tensors are that are not beside it under the name the file gives.
    most_bytes : int
        Refuse larger files.
    fuse : bool
        Make one layer of the six steps that exporters write for a group normalisation.

    Raises
    ------
    InvalidInput
        The file is no network that can be read, or asks for something that is not done here.
    UnknownName
        An operator is not known; it is named, and those that are.
    MissingDependency
        ``onnx`` is not installed.

    Examples
    --------
    >>> net = load_onnx("model.onnx")                                   # doctest: +SKIP
    >>> net.table()[["name", "operator"]]                               # doctest: +SKIP
    """
    graph = read_onnx(path, data=data, most_bytes=most_bytes)
    return OnnxNet(fuse_group_norm(graph) if fuse else graph)


class OnnxNet(nn.Module):
    """Runs a :class:`Graph`. Called with its inputs in order; gives its output, or all in a tuple.

    A layer is called after the first tensor that it gives, as programs that draw ONNX files show it,
    with ``_`` for anything but letters, digits and ``_``. :meth:`table` lists them.
    """

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self._inputs, self._outputs = graph.inputs, graph.outputs
        self._steps: list[tuple[str, tuple[str, ...], str]] = []
        self._nodes: dict[str, Node] = {}
        constants = dict(graph.tensors)
        for node in graph.nodes:
            if node.op == "Constant":
                constants[node.outputs[0]] = _value(node)
                continue
            if node.op not in OPS:
                raise UnknownName(
                    f"Node {node.name!r} is {node.op!r}, which is not among the operators that are run "
                    f"here: {', '.join(sorted(OPS))}."
                )
            if len([name for name in node.outputs if name]) != 1:
                raise InvalidInput(
                    f"Node {node.name!r} ({node.op}) gives more than one tensor; steps here give one."
                )
            held = {i: constants[name] for i, name in enumerate(node.inputs) if name in constants}
            name = self._free_name(node.outputs[0])
            self.add_module(name, OPS[node.op](node, held))
            given = tuple(i for i in node.inputs if i and i not in constants)
            if not given:
                raise InvalidInput(
                    f"Node {node.name!r} ({node.op}) has constant inputs only; fold it first."
                )
            self._steps.append((name, given, node.outputs[0]))
            self._nodes[name] = node
        uses = Counter(name for _, given, _ in self._steps for name in given)
        uses.update(self._outputs)
        self._uses = uses
        unknown = [name for name in self._outputs if name in constants]
        if unknown:
            raise InvalidInput(f"The output {unknown[0]!r} is a constant.")
        self.eval()

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        if len(inputs) != len(self._inputs):
            raise InvalidInput(
                f"The network takes {len(self._inputs)} inputs ({', '.join(self._inputs)}); it was given "
                f"{len(inputs)}."
            )
        values = dict(zip(self._inputs, inputs, strict=True))
        left = Counter(self._uses)
        for name, given, made in self._steps:
            values[made] = self.get_submodule(name)(*(values[i] for i in given))
            for used in given:  # what no later step reads is let go
                left[used] -= 1
                if left[used] == 0:
                    values.pop(used, None)
        out = tuple(values[name] for name in self._outputs)
        return out[0] if len(out) == 1 else out

    def table(self) -> pd.DataFrame:
        """One row a layer, in running order: name, operator, node, reads, tensor, parameters."""
        return pd.DataFrame(
            [
                {
                    "name": name,
                    "operator": self._nodes[name].op,
                    "node": self._nodes[name].name,
                    "reads": ", ".join(given),
                    "tensor": made,
                    "weights": ", ".join(self._nodes[name].inputs[1:]),
                    "parameters": sum(p.numel() for p in self.get_submodule(name).parameters()),
                }
                for name, given, made in self._steps
            ]
        )

    def _free_name(self, wanted: str) -> str:
        name = re.sub(r"\W", "_", wanted, flags=re.ASCII) or "step"
        while hasattr(self, name):
            name += "_"
        return name


def _value(node: Node) -> np.ndarray:
    """What a ``Constant`` holds, as an array."""
    for key, dtype in (
        ("value", None), ("value_float", np.float32), ("value_floats", np.float32),
        ("value_int", np.int64), ("value_ints", np.int64),
    ):  # fmt: skip
        if key in node.attributes:
            return np.asarray(node.attributes[key], dtype)
    raise InvalidInput(f"Node {node.name!r} (Constant) holds no number.")
