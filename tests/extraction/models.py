"""Small real networks of each kind the extraction must understand, with seeded weights."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import nn


def seeded(model: nn.Module, seed: int = 0) -> nn.Module:
    """``model`` with weights and running statistics drawn from ``seed``."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in sorted(model.state_dict().items()):
            if not value.is_floating_point():
                continue
            fan = max(1, value[0].numel()) if value.ndim > 1 else 1
            drawn = torch.randn(value.shape, generator=generator) / fan**0.5
            if name.endswith("running_var"):
                drawn = drawn.abs() + 0.5
            elif value.ndim == 1 and name.endswith("weight"):
                drawn = 1 + 0.1 * drawn
            elif value.ndim == 1:
                drawn = 0.1 * drawn
            value.copy_(drawn)
    return model


class Block(nn.Module):
    """A residual block that works in place, as torchvision's do."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.bn(self.conv(x))
        out += x
        return self.relu(out)


class SmallCNN(nn.Module):
    """Stem, residual blocks, global average pooling, one linear layer."""

    def __init__(self, channels: int = 3, classes: int = 5, width: int = 8) -> None:
        super().__init__()
        self.stem = nn.Conv2d(channels, width, 3, stride=2, padding=1)
        self.layer1 = nn.Sequential(Block(width), nn.MaxPool2d(2))
        self.layer2 = nn.Sequential(Block(width), Block(width))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.drop = nn.Dropout(0.5)
        self.fc = nn.Linear(width, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.layer2(self.layer1(self.stem(x)))
        return self.fc(self.drop(self.pool(x).flatten(1)))


class Volume(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv3d(1, 4, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv3d(4, 6, 3, padding=1),
            nn.ReLU(),
        )
        self.fc = nn.Linear(6, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.features(x).mean((2, 3, 4)))


class Attention(nn.Module):
    """A transformer block (pre-norm, one head)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.qkv(self.norm1(x)).chunk(3, dim=-1)
        x = x + nn.functional.scaled_dot_product_attention(q, k, v)
        return x + self.mlp(self.norm2(x))


class SmallViT(nn.Module):
    """Patches of 8 px, class and register tokens in front; classified by the class token."""

    def __init__(
        self, size: tuple[int, int] = (32, 32), prefix: int = 1, convolution: bool = True
    ) -> None:
        super().__init__()
        width, self.prefix = 12, prefix
        if convolution:
            self.patch_embed: nn.Module = nn.Conv2d(3, width, 8, stride=8)
        else:
            self.patch_embed = nn.Sequential(
                OrderedDict(
                    unfold=nn.Unfold(8, stride=8), swap=Swap(), linear=nn.Linear(192, width)
                )
            )
        tokens = size[0] // 8 * (size[1] // 8) + prefix
        self.tokens = nn.Parameter(torch.zeros(1, prefix, width))
        self.position = nn.Parameter(torch.zeros(1, tokens, width))
        self.blocks = nn.ModuleList([Attention(width), Attention(width)])
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patch_embed(x)
        if x.ndim == 4:
            x = x.flatten(2).transpose(1, 2)
        x = torch.cat([self.tokens.expand(len(x), -1, -1), x], 1) + self.position
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)
        return self.head(x[:, 0] if self.prefix else x.mean(1))


class Swap(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.transpose(1, 2)


class ChannelsLast(nn.Module):
    """Swin's habit: ``(m, h, w, C)`` between the blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, 8, 4, stride=4)
        self.blocks = nn.Sequential(LastBlock(8), LastBlock(8))
        self.head = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.blocks(self.embed(x).permute(0, 2, 3, 1)).mean((1, 2)))


class LastBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.linear = nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.linear(self.norm(x))


class UNet(nn.Module):
    """A connection goes round the bottleneck."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(3, 4, 3, padding=1)
        self.bottleneck = nn.Sequential(nn.Conv2d(4, 6, 3, stride=2, padding=1), nn.ReLU())
        self.up = nn.ConvTranspose2d(6, 4, 2, stride=2)
        self.out = nn.Conv2d(8, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.down(x).relu()
        return self.out(torch.cat([x, self.up(self.bottleneck(x))], 1))


class RoundLayer(UNet):
    """The same, ending in class scores."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x).mean((2, 3))


class DictOutput(SmallCNN):
    """A model and a layer that return dictionaries and tuples."""

    def __init__(self) -> None:
        super().__init__()
        self.layer2 = TupleBlock(8)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:  # type: ignore[override]
        x, extra = self.layer2(self.layer1(self.stem(x)))
        return {"extra": extra, "logits": self.fc(self.pool(x).flatten(1))}


class TupleBlock(Block):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:  # type: ignore[override]
        out = super().forward(x)
        return out, out.mean()
