"""Hooks on a model: what they see, and that they never stay behind.

Everything that touches ``register_forward_hook`` or a module's training flag is in this file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from widgetkit.errors import InvalidInput, NoSpatialOutput
from widgetkit.extraction._torch import nn, torch

# Where Hugging Face outputs keep the thing itself, best first.
_KEYS = ("last_hidden_state", "feature_map", "feature_maps", "logits", "out", "x")


def unwrap(model: nn.Module) -> nn.Module:
    """The module itself behind ``torch.compile``, ``DataParallel`` and their like.

    Hooks on a wrapper's inner modules are skipped or run per replica, so the kit always works on
    the module inside; names are those of that module.

    Raises
    ------
    InvalidInput
        Not an ``nn.Module``, or a TorchScript module, whose inner layers cannot be hooked.
    """
    if not isinstance(model, nn.Module):
        raise InvalidInput(
            f"model is a {type(model).__name__}; a torch.nn.Module is needed. Load a checkpoint "
            "into its class first (weights alone do not say how to run them)."
        )
    while True:
        inner = getattr(model, "_orig_mod", None)
        if inner is None and isinstance(
            model, nn.DataParallel | nn.parallel.DistributedDataParallel
        ):
            inner = model.module
        if not isinstance(inner, nn.Module):
            break
        model = inner
    if isinstance(model, torch.jit.ScriptModule):
        raise InvalidInput(
            "model is TorchScript: its inner layers cannot be read. Give the nn.Module it was "
            "scripted or traced from."
        )
    return model


@contextmanager
def evaluation(model: nn.Module) -> Iterator[None]:
    """``eval()`` for the whole model; each module's own flag comes back, whatever happens."""
    flags = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, flag in flags:
            module.training = flag


def tensor_of(output: Any) -> torch.Tensor | None:
    """The tensor in a module's output: itself, the first of a tuple, the main one of a dict."""
    if isinstance(output, torch.Tensor):
        return None if output.is_nested or output.layout != torch.strided else output
    if isinstance(output, Mapping):
        keys = [key for key in _KEYS if key in output]
        parts: Sequence[Any] = [output[key] for key in keys] or list(output.values())
    elif isinstance(output, list | tuple):
        parts = output
    else:
        parts = [getattr(output, key, None) for key in _KEYS]
    for part in parts:
        found = tensor_of(part) if part is not None else None
        if found is not None and found.ndim >= 2:
            return found
    return None


def with_tensor(output: Any, old: torch.Tensor, new: torch.Tensor) -> Any:
    """``output`` with ``old`` (one of its tensors) exchanged for ``new``."""
    if output is old:
        return new
    if isinstance(output, Mapping):
        changed = {key: with_tensor(value, old, new) for key, value in output.items()}
        return type(output)(**changed) if type(output) is not dict else changed
    if isinstance(output, tuple) and hasattr(output, "_fields"):  # a named tuple
        return type(output)(*(with_tensor(part, old, new) for part in output))
    if isinstance(output, list | tuple):
        return type(output)(with_tensor(part, old, new) for part in output)
    return output


Hook = Callable[[str, Any], Any]


@contextmanager
def hooked(model: nn.Module, names: Sequence[str], hook: Hook) -> Iterator[None]:
    """Call ``hook(name, output)`` after each named module; what it returns replaces the output.

    ``None`` leaves the output alone. The hooks are gone when the block ends, also by an error.
    """
    modules = dict(model.named_modules())

    def bind(name: str) -> Callable[[nn.Module, Any, Any], Any]:
        return lambda _module, _inputs, output: hook(name, output)

    with ExitStack() as stack:
        for name in names:
            stack.callback(modules[name].register_forward_hook(bind(name)).remove)
        yield


def layer_tensor(layer: str, output: Any) -> torch.Tensor:
    """The tensor of a layer that must have one."""
    tensor = tensor_of(output)
    if tensor is None or not tensor.is_floating_point():
        raise NoSpatialOutput(
            f"Layer {layer!r} gives {describe_output(output)}, no tensor of activations. Choose a "
            "layer whose shape wk.layers(model, example) shows."
        )
    return tensor


def describe_output(output: Any) -> str:
    """What a module returned, in words for a message."""
    if isinstance(output, torch.Tensor):
        return f"a {output.dtype} tensor of {tuple(output.shape)}"
    return f"a {type(output).__name__}"


@dataclass
class Seen:
    """One module's output in a probe."""

    name: str
    type: str
    order: int  # of its last call, in running order
    calls: int
    shape: tuple[int, ...] | None  # raw, with the batch; None without a tensor
    minimum: float = 0.0
    maximum: float = 0.0
    same_as: int = -1  # order of the earlier module whose very tensor this is
    children: bool = False


@dataclass
class Probe:
    """One small batch through the model with every module watched."""

    input_shape: tuple[int, ...]
    seen: dict[str, Seen]  # modules that ran, in order of finishing
    output: torch.Tensor | None  # the model's own output
    peak_bytes: int  # largest output of one module, for one image
    convolutions: list[tuple[int, tuple[int, ...]]] = field(default_factory=list)  # (order, grid)

    def grids_before(self, order: int) -> tuple[tuple[int, ...], ...]:
        """Grids of the convolutions that ran before, newest first, each once."""
        grids = [grid for at, grid in reversed(self.convolutions) if at <= order]
        return tuple(dict.fromkeys(grids))


_CONVOLUTIONS = (nn.Conv2d, nn.Conv3d)


def probe(model: nn.Module, images: torch.Tensor) -> Probe:
    """Run ``images`` once and note shape, range and order of every module's output.

    The tensors themselves are let go at once, but for the last, which tells whether a container
    returns the very tensor of its last child.
    """
    modules = dict(model.named_modules())
    result = Probe(tuple(images.shape), {}, None, 0)
    last: list[tuple[torch.Tensor, int]] = []
    order = 0

    def watch(name: str, output: Any) -> None:
        nonlocal order
        order += 1
        module, tensor = modules[name], tensor_of(output)
        before = result.seen.pop(name, None)
        seen = Seen(
            name,
            type(module).__name__,
            order,
            before.calls + 1 if before else 1,
            tuple(tensor.shape) if tensor is not None and tensor.is_floating_point() else None,
            children=any(True for _ in module.children()),
        )
        result.seen[name] = seen
        if tensor is None or seen.shape is None or not tensor.numel():
            return
        low, high = torch.aminmax(tensor.detach())
        seen.minimum, seen.maximum = float(low), float(high)
        if last and _same_memory(last[0][0], tensor):
            seen.same_as = last[0][1]
        else:
            last[:] = [(tensor, order)]
        size = tensor.numel() * tensor.element_size() // max(1, images.shape[0])
        result.peak_bytes = max(result.peak_bytes, size)
        if isinstance(module, _CONVOLUTIONS):
            result.convolutions.append((order, tuple(tensor.shape[2:])))

    names = [name for name in modules if name]
    with evaluation(model), torch.inference_mode(), hooked(model, names, watch):
        result.output = tensor_of(model(images))
    return result


def _same_memory(one: torch.Tensor, other: torch.Tensor) -> bool:
    return (
        one.data_ptr() == other.data_ptr()
        and one.shape == other.shape
        and one.stride() == other.stride()
    )
