"""What an ONNX file says, read without trusting it.

Sizes are compared with the bytes that are there before anything is allocated, tensors outside the
file are looked for in its own folder only, and nothing is executed. Needs the package ``onnx`` for
the format itself.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from widgetkit.errors import InvalidInput, missing

#: Below this version of the operator set several operators meant something else.
OLDEST_OPSET = 13
#: More than any network we load holds; a file that claims more is not read.
MOST_BYTES = 2**30
#: Longest list of dimensions and longest name that are believed.
MOST_AXES = 16

#: ONNX's numbers of element types -> dtype as stored.
_DTYPES: dict[int, np.dtype[Any]] = {
    1: np.dtype("<f4"), 6: np.dtype("<i4"), 7: np.dtype("<i8"), 9: np.dtype("bool"),
    10: np.dtype("<f2"), 11: np.dtype("<f8"),
}  # fmt: skip
#: Where values stand that are not raw bytes. float16 and bool are written as raw bytes by every
#: exporter we know.
_FIELDS = {1: "float_data", 6: "int32_data", 7: "int64_data", 11: "double_data"}


@dataclass(frozen=True)
class Node:
    """One step of a network."""

    op: str
    name: str
    inputs: tuple[str, ...]  # "" where an optional one is left out
    outputs: tuple[str, ...]
    attributes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Graph:
    """A network: its steps in running order and its constant tensors."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    nodes: tuple[Node, ...]
    tensors: dict[str, np.ndarray]
    opset: int


def read_onnx(
    path: str | os.PathLike[str],
    *,
    data: Mapping[str, str | os.PathLike[str]] | None = None,
    most_bytes: int = MOST_BYTES,
) -> Graph:
    """Steps and tensors of an ONNX file.

    Parameters
    ----------
    path : path
    data : mapping, optional
        Name that the file gives to another file of tensors -> where that file is, for those kept
        under another name. The rest are looked for beside ``path``.
    most_bytes : int
        Refuse more than this of tensors, and a larger file.

    Raises
    ------
    InvalidInput
        Not ONNX, damaged, too large, of an operator set before 13, with operators that are not
        ONNX's own, with a graph inside a node; a tensor of another size than its file says, or in
        a file outside the folder. Names what it is.
    MissingDependency
        ``onnx`` is not installed.
    """
    try:
        import onnx
        from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    except ImportError as error:
        raise missing("onnx", "onnx", "Reading an ONNX network") from error
    where = Path(path)
    if not where.is_file():
        raise InvalidInput(f"There is no file {where.name!r} in that folder.")
    if where.stat().st_size > most_bytes:
        raise InvalidInput(f"{where.name!r} is larger than {most_bytes:,} bytes (most_bytes=).")
    try:
        model = onnx.ModelProto.FromString(where.read_bytes())
    except (DecodeError, ValueError) as error:
        raise InvalidInput(f"{where.name!r} is not an ONNX file, or is damaged.") from error
    graph = model.graph
    if not graph.node or not graph.output:
        raise InvalidInput(f"{where.name!r} holds no network.")
    opset = max((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), default=0)
    if opset < OLDEST_OPSET:
        raise InvalidInput(
            f"{where.name!r} uses operator set {opset}; {OLDEST_OPSET} or later can be read. Convert "
            "it with onnx.version_converter."
        )
    if graph.sparse_initializer:
        raise InvalidInput(f"{where.name!r} holds sparse tensors, which are not read.")
    reader = _Tensors(where, {k: Path(v) for k, v in (data or {}).items()}, most_bytes)
    tensors = {tensor.name: reader.read(tensor) for tensor in graph.initializer}
    nodes = tuple(_node(node, reader) for node in graph.node)
    inputs = tuple(value.name for value in graph.input if value.name not in tensors)
    _check_order(nodes, {*tensors, *inputs}, [value.name for value in graph.output], where.name)
    return Graph(inputs, tuple(value.name for value in graph.output), nodes, tensors, opset)


def _node(node: Any, reader: _Tensors) -> Node:
    if node.domain not in ("", "ai.onnx"):
        raise InvalidInput(
            f"Node {node.name!r} is {node.domain}.{node.op_type}: not one of ONNX's own operators."
        )
    attributes = {a.name: _attribute(a, node.name, reader) for a in node.attribute}
    return Node(node.op_type, node.name, tuple(node.input), tuple(node.output), attributes)


def _attribute(attribute: Any, node: str, reader: _Tensors) -> Any:
    kind = attribute.type  # AttributeProto.AttributeType
    if kind == 1:
        return float(attribute.f)
    if kind == 2:
        return int(attribute.i)
    if kind == 3:
        return attribute.s.decode("utf-8", "replace")
    if kind == 4:
        return reader.read(attribute.t)
    if kind == 6:
        return tuple(float(value) for value in attribute.floats)
    if kind == 7:
        return tuple(int(value) for value in attribute.ints)
    raise InvalidInput(
        f"Attribute {attribute.name!r} of node {node!r} is neither number, text nor tensor (a graph "
        "inside a node, say); such networks are not read."
    )


def _check_order(nodes: tuple[Node, ...], known: set[str], outputs: list[str], name: str) -> None:
    """Every tensor is made once, and before it is used."""
    for node in nodes:
        for wanted in node.inputs:
            if wanted and wanted not in known:
                raise InvalidInput(
                    f"{name!r}: node {node.name!r} ({node.op}) reads {wanted!r}, which nothing before "
                    "it makes."
                )
        for made in filter(None, node.outputs):
            if made in known:
                raise InvalidInput(f"{name!r}: {made!r} is made twice.")
            known.add(made)
    lacking = [output for output in outputs if output not in known]
    if lacking:
        raise InvalidInput(f"{name!r}: its output {lacking[0]!r} is made by nothing.")


class _Tensors:
    """Reads tensors of one file, and counts their bytes."""

    def __init__(self, model: Path, data: dict[str, Path], most_bytes: int) -> None:
        self._model = model
        self._data = data
        self._left = most_bytes

    def read(self, tensor: Any) -> np.ndarray:
        dtype = _DTYPES.get(tensor.data_type)
        if dtype is None:
            raise InvalidInput(
                f"Tensor {tensor.name!r} has an element type (number {tensor.data_type}) that is not "
                "read: float16, float32, float64, int32, int64 and bool are."
            )
        shape = tuple(int(side) for side in tensor.dims)
        if len(shape) > MOST_AXES or any(side < 0 for side in shape):
            raise InvalidInput(f"Tensor {tensor.name!r} has the impossible shape {shape}.")
        count = math.prod(shape)
        self._left -= count * dtype.itemsize
        if self._left < 0:
            raise InvalidInput(
                f"Up to tensor {tensor.name!r} the file claims more bytes than most_bytes= allows."
            )
        if tensor.data_location == 1:
            flat = self._outside(tensor, dtype, count)
        elif tensor.HasField("raw_data"):
            self._same(tensor, len(tensor.raw_data), count * dtype.itemsize, "bytes")
            flat = np.frombuffer(tensor.raw_data, dtype)
        else:
            values = getattr(tensor, _FIELDS.get(tensor.data_type, ""), ())
            self._same(tensor, len(values), count, "values")
            flat = np.asarray(values, dtype)
        return flat.reshape(shape).astype(dtype.newbyteorder("="))

    def _outside(self, tensor: Any, dtype: np.dtype[Any], count: int) -> np.ndarray:
        entries = {entry.key: entry.value for entry in tensor.external_data}
        wanted = count * dtype.itemsize
        try:
            offset = int(entries.get("offset", "0"))
            length = int(entries.get("length", str(wanted)))
        except ValueError:
            raise InvalidInput(f"Tensor {tensor.name!r}: offset or length is no number.") from None
        self._same(tensor, length, wanted, "bytes")
        path = self._place(tensor.name, entries.get("location", ""))
        if offset < 0 or offset + length > path.stat().st_size:
            raise InvalidInput(
                f"Tensor {tensor.name!r} would lie beyond the end of its file, which may be truncated."
            )
        return np.fromfile(path, dtype, count, offset=offset)

    def _place(self, tensor: str, location: str) -> Path:
        """The file of a tensor: given by the caller, or one in the folder of the model."""
        given = self._data.get(location)
        if given is not None:
            if not given.is_file():
                raise InvalidInput(f"data[{location!r}] is no file.")
            return given
        relative = PurePosixPath(location)
        odd = "\\" in location or ":" in location or ".." in relative.parts or not relative.name
        folder = self._model.resolve().parent
        path = folder if odd or relative.is_absolute() else (folder / relative).resolve()
        if not path.is_relative_to(folder) or path == folder:
            raise InvalidInput(
                f"Tensor {tensor!r} is said to be in {location!r}, which is not a file in the model's "
                "own folder."
            )
        if not path.is_file():
            raise InvalidInput(
                f"Tensor {tensor!r} is in {location!r}, which is not beside the model. Copy it there, "
                "or say where it is with data=."
            )
        return path

    @staticmethod
    def _same(tensor: Any, found: int, wanted: int, what: str) -> None:
        if found != wanted:
            raise InvalidInput(
                f"Tensor {tensor.name!r} of shape {tuple(tensor.dims)} needs {wanted:,} {what}; the file "
                f"has {found:,}."
            )
