"""Running a network so that its backward pass carries relevance instead of gradients.

Every call of a torch function is seen, from modules and from plain code alike, and those that have
a rule are exchanged for it; the values are those of the function itself. The network is neither
changed nor copied.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch.overrides import TorchFunctionMode, resolve_name
from torch.utils.weak import WeakTensorKeyDictionary

from widgetkit.errors import InvalidInput
from widgetkit.extraction._torch import nn, torch
from widgetkit.extraction.relevance_rules import Affine, Rules, Tensor, constant, weighted

#: ``rule(mode, function, *arguments)``: constants among the arguments are detached and in the
#: propagation's dtype, signals are as they came, and nothing is to be done in place.
Rule = Callable[..., Any]

# The names of these functions differ from what they compute.
_SAME = {
    "__add__": "add", "__radd__": "add", "__iadd__": "add_", "__sub__": "sub", "subtract": "sub",
    "__isub__": "sub_", "__rsub__": "rsub", "__mul__": "mul", "__rmul__": "mul", "__imul__": "mul_",
    "multiply": "mul", "__truediv__": "div", "__div__": "div", "__itruediv__": "div_",
    "divide": "div", "true_divide": "div", "__rdiv__": "rdiv", "__rtruediv__": "rdiv",
    "__matmul__": "matmul", "__rmatmul__": "rmatmul", "__pow__": "pow", "__ipow__": "pow_",
    "__neg__": "neg", "negative": "neg", "__getitem__": "getitem", "__setitem__": "setitem_",
    "__abs__": "abs", "absolute": "abs", "clip": "clamp", "clip_": "clamp_", "swish": "silu",
    "multiply_": "mul_", "subtract_": "sub_", "divide_": "div_", "true_divide_": "div_",
    "__rpow__": "rpow", "concat": "cat", "concatenate": "cat",
    "_threshold": "threshold",
}  # fmt: skip

# Change what a tensor is called, not what it holds: ordinary autograd does them in place.
_RESHAPING = {"unsqueeze_", "squeeze_", "transpose_", "t_", "swapaxes_", "swapdims_"}

# They give numbers that do not stand for the signal, or say explicitly that they are constants.
_NEUTRAL = {
    "detach", "detach_", "zeros_like", "ones_like", "empty_like", "full_like", "rand_like",
    "randn_like", "randint_like", "new_zeros", "new_ones", "new_empty", "new_full", "new_tensor",
    "requires_grad_", "retain_grad", "register_hook", "__repr__", "__format__", "__str__",
    "__dir__", "__hash__", "__len__", "data_ptr", "storage", "untyped_storage", "bernoulli",
    "isclose", "allclose", "equal", "numel",
}  # fmt: skip

_PROPERTIES = {"T", "mT", "H", "mH"}


@dataclass
class Note:
    """What is known of a tensor that depends on the images."""

    gate: bool = False  # computed by a sigmoid, softmax or norm: multiplies something
    layer: Affine | None = None  # the layer whose plain output it is,
    input: Tensor | None = None  # that layer's input,
    version: int = -1  # and when it was


class Propagation(TorchFunctionMode):
    """The mode a forward pass runs in.

    Parameters
    ----------
    model : nn.Module
    unit : (m,) tensor that takes gradients
        Gathers what is absorbed for each image.
    rules : Rules
    table : mapping of function name to Rule
    dtype : torch.float32 or torch.float64
        What everything that depends on the images is computed in.
    """

    def __init__(
        self,
        model: nn.Module,
        unit: Tensor,
        rules: Rules,
        table: dict[str, Rule],
        dtype: torch.dtype,
    ) -> None:
        super().__init__()
        self.unit, self.rules, self.dtype = unit, rules, dtype
        self._table = table
        self._notes: MutableMapping[Tensor, Note] = WeakTensorKeyDictionary()
        self._leaves: list[Tensor] = []
        self._state = {id(t) for t in (*model.parameters(), *model.buffers())}
        self._paused = False

    # -- what rules use ------------------------------------------------------------------
    @property
    def images(self) -> int:
        """m."""
        return len(self.unit)

    def is_signal(self, value: object) -> bool:
        """Whether a tensor depends on the images through functions that have a rule."""
        if not isinstance(value, torch.Tensor) or not value.requires_grad:
            return False
        if value in self._notes:
            return True
        if value.grad_fn is None or not self._depends_on_images(value):
            return False  # a parameter, or computed from parameters alone
        raise InvalidInput(
            f"Relevance cannot be followed through {value.grad_fn.name()}: this step of the "
            "network is a custom autograd function or compiled (torch.jit) code, whose inside "
            "cannot be seen. Switch it off, if the network has an option for that, or use gradcam, "
            "occlusion or integrated_gradients."
        )

    def is_gate(self, signal: Tensor) -> bool:
        note = self._notes.get(signal)
        return note is not None and note.gate

    def adopt(self, tensor: Tensor, like: Tensor | None = None, *, gate: bool = False) -> Tensor:
        """Make a tensor known as a signal; ``like`` hands on whether it is a gate."""
        self._notes[tensor] = Note(gate=gate or (like is not None and self.is_gate(like)))
        return tensor

    def start(self, leaf: Tensor, like: Tensor | None = None) -> Tensor:
        """What the network goes on with in place of ``leaf``, a leaf that takes gradients."""
        self._leaves.append(leaf)
        # a copy: what runs next may work in place, which a leaf does not allow
        return self.adopt(leaf.clone(), like)

    def constant(self, value: Any, shape: Sequence[int]) -> Tensor:
        """A constant of ``shape`` whose share of relevance is absorbed."""
        tensor = torch.as_tensor(value, dtype=self.dtype, device=self.unit.device)
        return constant(self.unit, tensor.expand(tuple(shape)))

    def weighted(
        self,
        x: Tensor,
        layer: Affine,
        value: Callable[[], Tensor],
    ) -> Tensor:
        """A layer with weights; noted, so that a batch norm behind it can be folded in."""
        y = weighted(x, self.unit, value, layer, self.rules)
        self._notes[y] = Note(layer=layer, input=x, version=y._version)
        return y

    def layer_behind(self, y: Tensor) -> tuple[Affine, Tensor] | None:
        """The layer that gave ``y``, and its input, where nothing changed ``y`` since."""
        note = self._notes.get(y)
        if note is None or note.layer is None or note.input is None:
            return None
        if note.version != y._version:
            return None
        return note.layer, note.input

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Functions run as they are, for the kit's own hooks."""
        before, self._paused = self._paused, True
        try:
            yield
        finally:
            self._paused = before

    # -- torch's side --------------------------------------------------------------------
    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if self._paused:
            return func(*args, **kwargs)
        name = _name(func)
        if name == "_set_grad_enabled":
            return None  # a frozen part of the network (no_grad) carries relevance all the same
        if not torch.is_grad_enabled():
            if torch.is_inference_mode_enabled():
                raise InvalidInput(
                    "Part of the network runs in torch.inference_mode(), through which relevance "
                    "cannot be followed. torch.no_grad() does the same there and can be."
                )
            return func(*args, **kwargs)  # inside a custom autograd function: refused at its end
        if name.startswith("."):
            return self._property(func, name[1:], args)
        args, kwargs = _positional(args, kwargs)
        signals = [t for t in _tensors((args, kwargs)) if self.is_signal(t)]
        args, kwargs = (
            _mapped(args, self._plain, bool(signals)),
            _mapped(kwargs, self._plain, bool(signals)),
        )
        if not signals:
            return func(*args, **kwargs)
        if name.endswith("_as"):  # the second tensor lends its shape only
            signals = [t for t in signals if t is args[0]]
        gate = all(self.is_gate(t) for t in signals)
        with torch.autocast(self.unit.device.type, enabled=False):
            result = self._in_place(func, name, args, kwargs)
        for tensor in _tensors(result):
            if tensor.requires_grad and tensor not in self._notes:
                self._notes[tensor] = Note(gate=gate)
        return result

    def _in_place(self, func: Any, name: str, args: Any, kwargs: dict[str, Any]) -> Any:
        """Carry a function out on a copy, and write the result where it belongs."""
        written = name.endswith("_") and not name.endswith("__")
        if kwargs.get("out") is not None:
            self._unknown(func, "with out=")
        if name in _NEUTRAL:
            return self._neutral(func, name, args, kwargs)
        if name in _RESHAPING:
            return func(*args, **kwargs)
        if kwargs.get("inplace"):
            kwargs, written = {**kwargs, "inplace": False}, True
        rule = self._table.get(name.removesuffix("_") if written else name)
        if rule is None:
            if written:
                self._unknown(func)
            return self._neutral(func, name, args, kwargs)
        if not written:
            return rule(self, func, *args, **kwargs)
        target, *others = args
        if not self.is_signal(target) and id(target) in self._state:
            self._unknown(func, "into a parameter or buffer of the network")
        gate = self.is_signal(target) and self.is_gate(target)
        copy = target.clone()
        if self.is_signal(target):
            self.adopt(copy, target)
        result = rule(self, func, copy, *others, **kwargs)
        target.copy_(result)
        kept = gate and all(self.is_gate(t) for t in _tensors(others) if self.is_signal(t))
        note = self._notes.get(result)
        self._notes[target] = Note(gate=kept or (note is not None and note.gate))
        return target

    def _neutral(self, func: Any, name: str, args: Any, kwargs: dict[str, Any]) -> Any:
        """Functions that tell something about a signal, such as its shape, but do not pass it on."""
        if name == "requires_grad_":
            return args[0]
        if name in _NEUTRAL:
            return func(*args, **kwargs)
        result = func(*_mapped(args, _detached), **_mapped(kwargs, _detached))
        passed_on = any(t.is_floating_point() or t.is_complex() for t in _tensors(result))
        told = isinstance(result, bool | int | str | torch.Size | torch.dtype | torch.device)
        if passed_on or not (told or result is None or list(_tensors(result)) or _is_tuple(result)):
            self._unknown(func)
        return result

    def _property(self, func: Any, name: str, args: Any) -> Any:
        result = func(*args)
        if name in _PROPERTIES and self.is_signal(args[0]):
            self.adopt(result, args[0])
        return result

    def _plain(self, value: Tensor, beside_signal: bool) -> Tensor:
        """A constant without its graph, in the propagation's dtype; a signal as it is."""
        if self.is_signal(value):
            return value
        plain = value.detach() if value.requires_grad else value
        if beside_signal and plain.is_floating_point() and plain.dtype != self.dtype:
            plain = plain.to(self.dtype)
        return plain

    def _depends_on_images(self, tensor: Tensor) -> bool:
        todo, seen = [tensor.grad_fn], set()
        leaves = {id(leaf) for leaf in self._leaves}
        while todo:
            node: Any = todo.pop()
            if node is None or node in seen:
                continue
            seen.add(node)
            if id(getattr(node, "variable", None)) in leaves:
                return True
            todo += [before for before, _ in node.next_functions]
        return False

    def _unknown(self, func: Any, how: str = "") -> None:
        raise unknown(func, how)


def unknown(func: Any, how: str = "") -> InvalidInput:
    """The error for a function without a rule."""
    called = resolve_name(func) or f"{getattr(func, '__module__', None) or 'torch'}.{_name(func)}"
    return InvalidInput(
        f"Relevance has no rule for {called}{' ' + how if how else ''}, which this network applies "
        "to what it computes from the images. docs/relevance.md lists what is covered; use gradcam, "
        "occlusion or integrated_gradients for this network."
    )


def _name(func: Any) -> str:
    """The function's name; ``.name`` for an attribute, ``space::name`` for an operator of others."""
    name = str(getattr(func, "__name__", func))
    if name in ("__get__", "__set__"):
        return f".{getattr(getattr(func, '__self__', None), '__name__', '')}"
    if isinstance(func, torch._ops.OpOverload | torch._ops.OpOverloadPacket):
        packet: Any = getattr(func, "overloadpacket", func)
        space, _, name = str(packet._qualified_op_name).partition("::")
        return _SAME.get(name, name) if space == "aten" else f"{space}::{name}"
    module = getattr(func, "__module__", None) or "torch"
    if module.split(".")[0] != "torch":
        return f"{module}::{name}"
    return _SAME.get(name, name)


def _positional(args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """``input=``, ``tensors=`` and ``other=`` where rules expect them: first and second."""
    for place, names in ((0, ("input", "self", "tensors")), (1, ("other",))):
        for name in names:
            if len(args) == place and name in kwargs:
                args = (*args, kwargs[name])
                kwargs = {key: value for key, value in kwargs.items() if key != name}
    return args, kwargs


def _tensors(value: Any) -> Iterator[Tensor]:
    """The tensors in nested arguments or results."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _tensors(part)
    elif isinstance(value, dict):
        for part in value.values():
            yield from _tensors(part)


def _mapped(value: Any, change: Callable[..., Any], *more: Any) -> Any:
    """Nested arguments with each tensor exchanged."""
    if isinstance(value, torch.Tensor):
        return change(value, *more)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(_mapped(part, change, *more) for part in value))
    if type(value) in (list, tuple):
        return type(value)(_mapped(part, change, *more) for part in value)
    if type(value) is dict:
        return {key: _mapped(part, change, *more) for key, part in value.items()}
    return value


def _detached(tensor: Tensor) -> Tensor:
    return tensor.detach()


def _is_tuple(value: Any) -> bool:
    """Sizes and strides."""
    return isinstance(value, list | tuple) and all(isinstance(v, int | bool) for v in value)
