"""Training of the demo's tile classifier on SHELL's labels, and what came of it.

    python -m widgetkit.demos.train_tissue

writes ``data/tissue-net.npz`` and ``data/tissue-net.json``. Some minutes on two cores, most of them for
running the frozen part once over eight views of each tile.

What is trained: the 1 x 1 convolution and the linear layer, from scratch, and block 7, the last kept
one of EfficientNet-Lite0, at a tenth of their rate. The stem, blocks 0 to 6 and all statistics of
batch normalisation stay as ImageNet left them. Targets are the shares of epithelium and stroma among
what SHELL calls tissue in a tile, not just the larger one, so that tiles across a border count half.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from widgetkit.demos.efficientnet import MEAN, STD
from widgetkit.demos.efficientnet import load_weights as imagenet
from widgetkit.demos.labelled import CLASSES, TRAINING
from widgetkit.demos.tissue_net import TissueNet, save_weights
from widgetkit.tiles import TileSource
from widgetkit.tiles.fetch import fetch

SEED = 0
EPOCHS, BATCH, RATE, DECAY = 12, 32, 2e-3, 1e-3
#: Level-0 px from tile to tile: half of the demo's, so that a place is seen at four offsets.
STRIDE = 40
#: Rate of the fine-tuned block, as a part of the new layers'.
SLOWER = 0.1
FROZEN = 7  # blocks 0..6
DATA = Path(__file__).with_name("data")


def train(
    tiles: TileSource, *, seed: int = SEED, progress: Callable[[str], None] = print
) -> tuple[TissueNet, dict[str, Any]]:
    """The classifier trained on the slides of :data:`TRAINING`, and its figures.

    Parameters
    ----------
    tiles : TileSource
        With the columns of :func:`widgetkit.demos.labelled.labelled_tiles`.
    seed : int
        The same seed on the same machine gives the same weights.

    Returns
    -------
    net : TissueNet
        In evaluation mode.
    figures : dict
        ``settings``; ``slides``: for each slide, tiles and how they were labelled; for each, the
        agreement with SHELL of the net that learned from :data:`TRAINING`, and of one that learned
        from the other three slides.
    """
    table = tiles.table
    progress(f"{len(table)} tiles through the frozen part, eight views of each")
    views = _frozen(tiles)
    slides = sorted(table["source"].unique())
    chosen = table["source"].isin(TRAINING).to_numpy()
    net = _fit(views, table, chosen, seed)
    figures: dict[str, Any] = {
        "settings": {
            "seed": seed, "epochs": EPOCHS, "batch": BATCH, "rate": RATE, "decay": DECAY,
            "training": list(TRAINING), "torch": torch.__version__.split("+")[0],
        },
        "slides": {},
    }  # fmt: skip
    for slide in slides:
        here = (table["source"] == slide).to_numpy()
        other = _fit(views, table, ~here, seed)
        figures["slides"][slide] = {
            "tiles": int(here.sum()),
            "split": "training" if slide in TRAINING else "held out",
            "epithelium": int((table["label"][here] == CLASSES[0]).sum()),
            "clear": int(table["clear"][here].sum()),
            "agreement": _agreement(net, views[0], table, here),
            "agreement_left_out": _agreement(other, views[0], table, here),
        }
        progress(f"{slide}: {figures['slides'][slide]}")
    held_out = ~chosen
    figures["held_out"] = _agreement(net, views[0], table, held_out)
    return net, figures


def _frozen(tiles: TileSource) -> Tensor:
    """(8, n, C, h, w): block 6 of every tile, turned and mirrored."""
    trunk = imagenet(fetch("efficientnet-lite0"))
    images = torch.from_numpy(tiles.read(range(len(tiles)))).permute(0, 3, 1, 2)
    parts = []
    with torch.no_grad():
        for turn in range(4):
            for mirror in (False, True):
                view = torch.rot90(images, turn, (2, 3))
                view = view.flip(3) if mirror else view
                out = []
                for batch in view.split(BATCH):  # type: ignore[no-untyped-call]
                    x = trunk.stem((batch.float() - MEAN[0]) / STD[0])
                    for i in range(FROZEN):
                        x = trunk.blocks[i](x)
                    out.append(x)
                parts.append(torch.cat(out))
    return torch.stack(parts)


def _fit(views: Tensor, table: pd.DataFrame, rows: np.ndarray, seed: int) -> TissueNet:
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = TissueNet(imagenet(fetch("efficientnet-lite0"))).eval()  # statistics stay as they are
    new = [*net.reduce.parameters(), *net.fc.parameters()]
    tuned = list(net.blocks[FROZEN].parameters())
    for parameter in net.parameters():
        parameter.requires_grad_(False)
    for parameter in (*new, *tuned):
        parameter.requires_grad_(True)
    rates = (RATE, RATE * SLOWER)
    groups = [{"params": part, "lr": rate} for part, rate in zip((new, tuned), rates, strict=True)]
    optimiser = torch.optim.AdamW(groups, weight_decay=DECAY)
    index = torch.from_numpy(np.flatnonzero(rows))
    tissue = table[["shell_epithelium", "shell_stroma"]].to_numpy(np.float32)[rows]
    amount = torch.from_numpy(tissue.sum(axis=1)).clamp(min=0.05)
    target = torch.from_numpy(tissue) / amount[:, None]
    first = (target[:, 0] > 0.5).float()
    # both classes weigh the same, and tiles that are mostly glass little
    weight = amount * torch.where(first > 0, 0.5 / first.mean(), 0.5 / (1 - first.mean()))
    steps = EPOCHS * -(-len(index) // BATCH)
    step = 0
    for _ in range(EPOCHS):
        for part in torch.randperm(len(index), generator=generator).split(BATCH):  # type: ignore[no-untyped-call]
            for group, rate in zip(optimiser.param_groups, rates, strict=True):
                group["lr"] = rate * (1 - step / steps)
            step += 1
            view = torch.randint(0, len(views), (len(part),), generator=generator)
            scores = torch.log_softmax(_rest(net, views[view, index[part]]), dim=1)
            loss = -(weight[part] * (target[part] * scores).sum(dim=1)).mean()
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
    for parameter in net.parameters():
        parameter.requires_grad_(True)
    return net


def _rest(net: TissueNet, x: Tensor) -> Tensor:
    maps = net.relu(net.reduce(net.blocks[FROZEN](x)))
    out: Tensor = net.fc(net.pool(maps).flatten(1))
    return out


def _agreement(
    net: TissueNet, unturned: Tensor, table: pd.DataFrame, rows: np.ndarray
) -> dict[str, float]:
    """Share of tiles where net and SHELL agree: all, clear ones, mean of the two classes; AUC."""
    from sklearn.metrics import roc_auc_score

    with torch.no_grad():
        index = torch.from_numpy(np.flatnonzero(rows))
        score = torch.softmax(_rest(net, unturned[index]), dim=1)[:, 0].numpy()
    truth = (table["label"][rows] == CLASSES[0]).to_numpy()
    clear = table["clear"][rows].to_numpy()
    right = (score > 0.5) == truth
    return {
        "all": round(float(right.mean()), 3),
        "clear": round(float(right[clear].mean()), 3),
        "balanced": round(float((right[truth].mean() + right[~truth].mean()) / 2), 3),
        "auc": round(float(roc_auc_score(truth, score)), 3),
    }


def main() -> None:
    """Train, and write weights and figures beside the demo's other data."""
    import tempfile

    from widgetkit.demos.labelled import labelled_tiles
    from widgetkit.demos.regions import write_regions

    with tempfile.TemporaryDirectory() as scratch:
        write_regions(fetch("slide"), scratch)
        net, figures = train(labelled_tiles(Path(scratch), stride=STRIDE))
    save_weights(net, DATA / "tissue-net.npz")
    (DATA / "tissue-net.json").write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
