"""PNG of a map: its colours, and the text that says what they mean."""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image

from widgetkit.errors import InvalidInput, OutputExists, UnknownName
from widgetkit.palette import colour
from widgetkit.slides.export_images import rgb_of, write_png


def rgba(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGBA"))


def test_values_take_the_colours_of_the_scale_that_the_file_states(tmp_path: Path) -> None:
    values = np.linspace(-1, 3, 35, dtype=np.float32).reshape(5, 7)
    values[2, 3] = np.nan
    path = write_png(tmp_path / "a.png", values, scale=(0.0, 2.0), unit="weight")
    facts = json.loads(Image.open(path).text["widgetkit"])
    assert (facts["vmin"], facts["vmax"], facts["palette"]) == (0.0, 2.0, "viridis")
    found = rgba(path)
    assert found[2, 3, 3] == 0, "a cell without a tile is transparent"
    there = ~np.isnan(values)
    assert (found[there][:, 3] == 255).all()
    share = np.clip((values[there] - facts["vmin"]) / 2.0, 0, 1)
    wanted = mpl.colormaps["viridis"](share.astype(np.float64))[:, :3] * 255
    assert np.abs(found[there][:, :3] - wanted).max() < 4  # 255 steps of the scale


def test_the_usual_scale_begins_at_zero_and_is_stated(tmp_path: Path) -> None:
    path = write_png(tmp_path / "a.png", np.array([[2.0, 5.0]]))
    assert "Values of 0 to 5 (weight)" in Image.open(path).text["Description"]
    flat = write_png(tmp_path / "b.png", np.full((2, 2), np.nan))
    assert (rgba(flat)[..., 3] == 0).all()


def test_winners_take_their_colours_and_their_weight_as_opacity(tmp_path: Path) -> None:
    winner = np.array([[0, 1, 255], [1, 1, 0]], dtype=np.uint8)
    plain = rgba(write_png(tmp_path / "a.png", winner, names=["x", "y"]))
    assert tuple(plain[0, 0]) == (*rgb_of(colour(0)), 255)
    assert tuple(plain[1, 0]) == (*rgb_of(colour(1)), 255)
    assert plain[0, 2, 3] == 0
    weight = np.array([[0.5, 1.7, 1.0], [np.nan, 0.0, 1.0]])
    path = write_png(tmp_path / "b.png", winner, palette=["#ff0000", "#00ff00"], weight=weight)
    assert rgba(path)[..., 3].tolist() == [[128, 255, 0], [0, 0, 255]]
    assert tuple(rgba(path)[0, 0, :3]) == (255, 0, 0)


def test_254_factors_are_told_apart(tmp_path: Path) -> None:
    winner = np.arange(254, dtype=np.uint8).reshape(2, 127)
    palette = [f"#{i:02x}{255 - i:02x}07" for i in range(254)]
    found = rgba(write_png(tmp_path / "a.png", winner, palette=palette)).reshape(-1, 4)
    assert [tuple(c) for c in found] == [(*rgb_of(c), 255) for c in palette]


def test_size_of_a_cell_and_place_are_in_the_text(tmp_path: Path) -> None:
    path = write_png(
        tmp_path / "a.png", np.ones((2, 3)), mpp=(0.25, 0.5), downsample=16, origin=(5, 6),
        enlarge=4, title="Cluster: gland",
    )  # fmt: skip
    image = Image.open(path)
    assert image.size == (12, 8)
    said = image.text["Description"]
    assert said.startswith("Cluster: gland. Values") and "(4 x 8 um)" in said
    facts = json.loads(image.text["widgetkit"])
    assert facts["downsample"] == [16, 16] and facts["origin"] == [5, 6] and facts["enlarge"] == 4


def test_the_same_map_gives_the_same_bytes_and_no_name_of_a_file(tmp_path: Path) -> None:
    values = np.arange(6.0).reshape(2, 3)
    one = write_png(tmp_path / "Jane Doe.png", values).read_bytes()
    assert one == write_png(tmp_path / "b.png", values).read_bytes()
    assert b"Doe" not in one


@pytest.mark.parametrize(
    ("raster", "options", "said"),
    [
        (np.ones(3), {}, "shape"),
        (np.ones((0, 3)), {}, "not empty"),
        (np.ones((2, 2), int), {}, "floats"),
        (np.ones((2, 2)), {"scale": (2, 2)}, "below vmax"),
        (np.ones((2, 2)), {"weight": np.ones((2, 2))}, "winners"),
        (np.ones((2, 2), np.uint8), {"palette": ["#000000"]}, "1 colours"),
        (np.ones((2, 2), np.uint8), {"palette": ["#000000", "red"]}, "#rrggbb"),
        (np.ones((2, 2), np.uint8), {"weight": np.ones((3, 2))}, "shape"),
        (np.ones((2, 2)), {"mpp": -1}, "mpp"),
        (np.ones((2, 2)), {"downsample": (1, 2, 3)}, "downsample"),
        (np.ones((2, 2)), {"enlarge": 0}, "enlarge"),
        (np.broadcast_to(np.float32(1), (40_000, 40_000)), {}, "write_ome_tiff"),
    ],
)
def test_what_cannot_be_drawn_is_refused(
    tmp_path: Path, raster: np.ndarray, options: dict, said: str
) -> None:
    with pytest.raises(InvalidInput, match=said):
        write_png(tmp_path / "a.png", raster, **options)
    assert list(tmp_path.iterdir()) == []


def test_unknown_colour_maps_name_near_ones_and_files_stay(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="'viridis'"):
        write_png(tmp_path / "a.png", np.ones((2, 2)), palette="viridiss")
    write_png(tmp_path / "a.png", np.ones((2, 2)))
    with pytest.raises(OutputExists):
        write_png(tmp_path / "a.png", np.ones((2, 2)))
