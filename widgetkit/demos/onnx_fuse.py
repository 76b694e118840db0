"""Group normalisation found again where an exporter wrote it as six steps.

PyTorch's exporter has no operator for it before operator set 21: it reshapes the groups into
channels, normalises each, and scales afterwards. As one step it is a layer with a name, runs
faster, and is what the network was made of.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np

from widgetkit.demos.onnx_file import Graph, Node


def fuse_group_norm(graph: Graph) -> Graph:
    """The same network with every such group of steps as one ``GroupNormalization``.

    Steps that match only in part stay as they are. The new step has the meaning of operator set 21
    (one scale a channel) and is named after the last of the six.
    """
    maker = {name: node for node in graph.nodes for name in node.outputs}
    uses = Counter(name for node in graph.nodes for name in node.inputs)
    uses.update(graph.outputs)
    tensors = dict(graph.tensors)
    fused: dict[int, Node] = {}
    gone: set[int] = set()
    for node in graph.nodes:
        found = _match(node, maker, uses, tensors)
        if found is not None:
            fused[id(node)], parts = found
            gone |= {id(part) for part in parts}
    nodes = tuple(fused.get(id(node), node) for node in graph.nodes if id(node) not in gone)
    return replace(graph, nodes=nodes, tensors=tensors)


def _match(
    add: Node, maker: dict[str, Node], uses: Counter[str], tensors: dict[str, np.ndarray]
) -> tuple[Node, list[Node]] | None:
    """Add(Mul(Reshape(InstanceNormalization(Reshape(x, [0, G, -1])), Shape(x)), scale), bias)."""

    def before(node: Node | None, op: str, at: int = 0) -> Node | None:
        name = node.inputs[at] if node is not None and len(node.inputs) > at else ""
        made = maker.get(name)
        return made if made is not None and made.op == op and uses[name] == 1 else None

    if add.op != "Add":
        return None
    mul = before(add, "Mul")
    back = before(mul, "Reshape")
    norm = before(back, "InstanceNormalization")
    shape = before(back, "Shape", 1)
    apart = before(norm, "Reshape")
    if mul is None or back is None or norm is None or shape is None or apart is None:
        return None
    x = apart.inputs[0]
    groups = tensors.get(apart.inputs[1])
    ones, zeros = (tensors.get(name) for name in norm.inputs[1:3])
    scale, bias = (tensors.get(node.inputs[1]) for node in (mul, add))
    if groups is None or ones is None or zeros is None or scale is None or bias is None:
        return None
    if shape.inputs[0] != x or {"start", "end"} & {k for k, v in shape.attributes.items() if v}:
        return None
    plain = bool((ones == 1).all() and (zeros == 0).all())
    by_channel = scale.shape == bias.shape and scale.ndim > 1 and len(scale) == scale.size
    if not (plain and by_channel and groups.shape == (3,) and tuple(groups[[0, 2]]) == (0, -1)):
        return None
    name = add.outputs[0]
    tensors[f"{name}.weight"], tensors[f"{name}.bias"] = scale.ravel(), bias.ravel()
    node = Node(
        "GroupNormalization",
        add.name,
        (x, f"{name}.weight", f"{name}.bias"),
        add.outputs,
        {
            "num_groups": int(groups[1]),
            "epsilon": float(norm.attributes.get("epsilon", 1e-5)),
            "axes": scale.ndim + 1,  # of what is normalised, where (C, 1, 1) lines up with channels
        },
    )
    return node, [mul, back, norm, shape, apart]
