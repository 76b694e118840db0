"""Names, shapes and the automatic choice."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import widgetkit as wk
from tests.extraction import models
from tests.extraction.conftest import hooks_of, textures
from widgetkit.errors import InvalidInput, NoSpatialOutput, UnknownLayer
from widgetkit.extraction import Layout
from widgetkit.extraction.layer_table import resolve


def shape_of(table, name):
    return table.set_index("name")["shape"][name]


def automatic(table):
    return table["name"][table["note"].str.startswith("'auto'")].tolist()


def test_without_an_example_every_module_is_named(cnn):
    table = wk.layers(cnn)
    assert table["name"].tolist() == [name for name, _ in cnn.named_modules() if name]
    assert table["shape"].isna().all()
    assert hooks_of(cnn) == 0


def test_examples_of_every_kind_agree(cnn):
    tiles = wk.tiles.from_array(textures(2))
    for example in (tiles, textures(2), torch.rand(2, 3, 32, 32), (3, 32, 32)):
        table = wk.layers(cnn, example)
        assert shape_of(table, "layer2") == (8, 8, 8)
        assert shape_of(table, "stem") == (8, 16, 16)
        assert shape_of(table, "fc") == (5,)
        assert not table.set_index("name")["spatial"]["pool"]
    with pytest.raises(InvalidInput, match="example"):
        wk.layers(cnn, "slide.svs")


def test_wrong_name_lists_near_ones_and_the_way_to_all(cnn):
    with pytest.raises(UnknownLayer, match=r"SmallCNN, 19 layers.*'layer2.*wk\.layers") as error:
        resolve(cnn, ["layer22"])
    assert isinstance(error.value, LookupError)
    with pytest.raises(InvalidInput, match="once"):
        resolve(cnn, ["stem", "stem"])
    with pytest.raises(InvalidInput):
        resolve(cnn, [])


@pytest.mark.filterwarnings("ignore:.*jit.trace:DeprecationWarning")
def test_not_a_model_and_torchscript_say_what_to_do(cnn):
    with pytest.raises(InvalidInput, match="checkpoint"):
        wk.layers(cnn.state_dict())
    with pytest.raises(InvalidInput, match="TorchScript"):
        wk.layers(torch.jit.trace(cnn.eval(), torch.rand(1, 3, 32, 32)))


def test_wrapped_models_are_read_inside(cnn):
    assert wk.layers(nn.DataParallel(cnn))["name"].tolist() == wk.layers(cnn)["name"].tolist()


@pytest.mark.parametrize(
    ("model", "example", "expected", "shape"),
    [
        (models.SmallCNN(), (3, 32, 32), "layer2", (8, 8, 8)),
        (models.SmallViT(), (3, 32, 32), "blocks.1", (12, 4, 4)),
        (models.SmallViT((24, 40), prefix=5), (3, 24, 40), "blocks.1", (12, 3, 5)),
        (
            models.SmallViT((24, 40), prefix=1, convolution=False),
            (3, 24, 40),
            "blocks.1",
            (12, 3, 5),
        ),
        (models.SmallViT(prefix=0), (3, 32, 32), "blocks.1", (12, 4, 4)),
        (models.ChannelsLast(), (3, 32, 32), "blocks.1", (8, 8, 8)),
        (models.ChannelsLast(), (3, 24, 40), "blocks.1", (8, 6, 10)),
        (models.Volume(), (1, 8, 16, 16), "features", (6, 4, 8, 8)),
        (models.UNet(), (3, 32, 32), "bottleneck", (6, 16, 16)),
    ],
)
def test_automatic_choice(model, example, expected, shape):
    table = wk.layers(models.seeded(model), example)
    (name,) = automatic(table)
    assert name == expected or (expected == "blocks.1" and name == "blocks")
    assert shape_of(table, name) == shape


def test_choice_prefers_a_non_negative_map_of_the_same_shape():
    model = models.seeded(
        nn.Sequential(
            nn.Conv2d(3, 6, 3, stride=2),
            nn.ReLU(),
            nn.BatchNorm2d(6),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(6, 2),
        )
    )
    table = wk.layers(model, (3, 20, 20))
    assert automatic(table) == ["1"]
    assert "non-negative" in table.set_index("name")["note"]["1"]


def test_a_model_without_maps_says_so():
    model = nn.Sequential(nn.Flatten(), nn.Linear(300, 8), nn.ReLU(), nn.Linear(8, 2))
    table = wk.layers(model, (3, 10, 10))
    assert automatic(table) == []
    with pytest.raises(NoSpatialOutput, match="larger tiles"):
        wk.extract(
            model,
            wk.tiles.from_array(textures(3, (10, 10, 3))),
            out="/nowhere/x.wk",
            progress=False,
        )


def test_the_users_word_wins(tmp_path):
    """Tokens of 3 x 8 in a square input: only the user can know."""

    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lin = nn.Linear(32 * 32, 24 * 4)
            self.tokens = nn.Identity()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.tokens(self.lin(x.mean(1).flatten(1)).view(-1, 24, 4)).mean(1)

    model = models.seeded(Odd())
    note = wk.layers(model, (3, 32, 32)).set_index("name")["note"]["tokens"]
    assert "layout=" in note
    layout = {"tokens": Layout("tokens", grid=(3, 8))}
    table = wk.layers(model, (3, 32, 32), layout=layout)
    assert shape_of(table, "tokens") == (4, 3, 8)
    with pytest.raises(InvalidInput, match="not known"):
        Layout("rows")  # type: ignore[arg-type]


def test_outputs_that_are_dictionaries_and_tuples():
    model = models.seeded(models.DictOutput())
    assert shape_of(wk.layers(model, (3, 32, 32)), "layer2") == (8, 8, 8)


def test_layers_called_twice_and_never_are_noted():
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.relu = nn.Conv2d(3, 3, 3, padding=1), nn.ReLU()
            self.unused = nn.Linear(2, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.relu(self.conv(self.relu(self.conv(x)))).mean((2, 3))

    table = wk.layers(Shared(), (3, 8, 8)).set_index("name")
    assert "2 times" in table["note"]["relu"]
    assert "unused" not in table.index
    with pytest.raises(NoSpatialOutput, match="did not run"):
        wk.extract(
            Shared(),
            wk.tiles.from_array(textures(2, (8, 8, 3))),
            "unused",
            out="/nowhere/x.wk",
            progress=False,
        )


def test_arrange_and_restore_are_inverse():
    """For tokens, channels last and channels first alike."""
    from widgetkit.extraction.arrange import Hints, infer

    generator = torch.Generator().manual_seed(0)
    cases = [
        ((2, 6, 4, 5), Hints(2, (16, 20))),
        ((2, 4, 5, 6), Hints(2, (16, 20), last=frozenset({6}))),
        ((2, 21, 6), Hints(2, (16, 20), grids=((4, 5),))),
        ((21, 2, 6), Hints(2, (16, 20), grids=((4, 5),))),
        ((2, 6, 3, 4, 5), Hints(2, (12, 16, 20))),
    ]
    for shape, hints in cases:
        output = torch.randn(shape, generator=generator)
        arrangement = infer("layer", shape, hints)
        values = arrangement.apply(output, 2, layer="layer")
        assert values.shape[:2] == (2, 6)
        assert np.prod(values.shape[2:]) in (20, 60)
        assert torch.equal(arrangement.restore(values, output), output)
