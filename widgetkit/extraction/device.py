"""Where a model runs, how much it takes at once, and that it does so the same way each time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from widgetkit.errors import InvalidInput
from widgetkit.extraction._torch import nn, torch

# Pixels of one batch on a CPU: 32 tiles of 224 px. Beyond that nothing gets faster and memory grows.
CPU_BATCH_PIXELS = 32 * 224 * 224
CPU_MOST, CUDA_MOST = 64, 256
# One module's input, output and workspace live at once, with the tensors kept for shortcuts.
LIVE_OUTPUTS = 6
# Of the memory that is free: other processes, and our own segments, need the rest.
SHARE_OF_FREE = 0.4


def choose_device(device: str | torch.device) -> torch.device:
    """The device to run on; ``"auto"`` is CUDA where there is one, else the CPU.

    Raises
    ------
    InvalidInput
        No such device here.
    """
    if isinstance(device, str) and device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError, TypeError) as error:
        raise InvalidInput(
            f"device {device!r} cannot be used here: {str(error).splitlines()[0]}. Use 'auto', "
            "'cpu', or one that torch sees."
        ) from None
    return chosen


@contextmanager
def reproducible() -> Iterator[None]:
    """The same kernels for the same shapes, in full float32, while the block runs.

    On CUDA, autotuning may pick another kernel in each run and TF32 keeps 10 bits of a float's
    fraction; with both off, two runs agree to the bit and a GPU agrees with a CPU to rounding.
    """
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = (cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32, matmul.allow_tf32)
    cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32 = False, True, False
    matmul.allow_tf32 = False
    try:
        yield
    finally:
        cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32, matmul.allow_tf32 = before


def free_memory(device: torch.device) -> int:
    """Bytes that can be taken on ``device`` now, as far as the system says."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    free = _available()
    limit, used = _cgroup("memory.max"), _cgroup("memory.current")
    if limit is not None and used is not None:  # in a container the machine's memory is not ours
        free = min(free, max(0, limit - used))
    return free


def _available() -> int:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    except (AttributeError, ValueError, OSError):
        return 2 * 2**30


def _cgroup(name: str) -> int | None:
    try:
        return int(Path("/sys/fs/cgroup", name).read_text())
    except (OSError, ValueError):
        return None


def batch_that_fits(device: torch.device, pixels: int, bytes_an_image: int) -> int:
    """Images a batch: a power of two.

    Parameters
    ----------
    device : torch.device
    pixels : int
        Of one image (voxels of a volume).
    bytes_an_image : int
        Largest output of one module for one image, as one batch showed it.
    """
    cuda = device.type == "cuda"
    pixels_at_once = CPU_BATCH_PIXELS * (8 if cuda else 1)
    by_speed = min(max(1, pixels_at_once // max(1, pixels)), CUDA_MOST if cuda else CPU_MOST)
    by_memory = int(free_memory(device) * SHARE_OF_FREE / max(1, bytes_an_image * LIVE_OUTPUTS))
    return int(2 ** (max(1, min(by_speed, by_memory)).bit_length() - 1))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device, not the program, was at its end."""
    return isinstance(error, torch.cuda.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and "out of memory" in str(error).lower()
    )


@contextmanager
def placed(model: nn.Module, device: torch.device) -> Iterator[torch.device]:
    """The model on ``device`` with its kernels' fastest memory order; afterwards as before.

    Yields the device it runs on: a model that is spread over several stays where it is, and is fed
    on the first.
    """
    tensors = [*model.parameters(), *model.buffers()]
    homes = list(dict.fromkeys(tensor.device for tensor in tensors))
    if len(homes) > 1:
        yield homes[0]
        return
    # by their objects: moving a module changes what its parameters hold, not which they are
    plain = [p for p in model.parameters() if p.ndim == 4 and p.is_contiguous()]
    try:
        model.to(device)
        channels_last(model)
        yield device
    finally:
        for parameter in plain:
            parameter.data = parameter.data.contiguous()
        if homes:
            model.to(homes[0])


def channels_last(model: nn.Module) -> None:
    """Convolution weights with the channels innermost: a quarter faster on CPUs, same values."""
    for parameter in model.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
