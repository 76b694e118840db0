"""What is planted is there, where it should be, and nothing else differs between groups."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from widgetkit import simulate, tiles
from widgetkit.errors import FetchFailed, InvalidInput, TooFew, UnknownName
from widgetkit.simulate import Nuisance, lung_abnormalities
from widgetkit.tiles import Volume
from widgetkit.tiles.fetch import fetch

STILL = Nuisance(1).scaled(0)


def digest(made: simulate.LungSimulation) -> str:
    found = hashlib.sha256()
    for array in (made.images, made.masks, made.lung, made.groups):
        found.update(array.tobytes())
    found.update(made.table.to_csv().encode())
    return found.hexdigest()


def test_the_truth_lies_in_the_lung(everything) -> None:
    assert everything.masks.reshape(64, -1).any(axis=1).all()
    assert not (everything.masks & ~everything.lung).any()


def test_groups_are_the_combinations_of_levels(everything) -> None:
    assert everything.k == 32 == len(everything.group_names) == len(set(everything.group_names))
    assert np.bincount(everything.groups).tolist() == [2] * 32
    levels = everything.levels
    assert sorted(set(levels["size"])) == [24, 56] and sorted(set(levels["noise"])) == [20, 120]
    own = levels.iloc[everything.groups].reset_index(drop=True)
    table = everything.table
    assert (table["side"] + "-" + table["half"] == own["location"]).all()
    assert (table["shape"] == own["shape"]).all() and (table["noise_hu"] == own["noise"]).all()
    assert (abs(table["size_mm"] / own["size"] - 1) <= 0.06 + 1e-9).all()
    assert (abs(table["intensity_hu"] - own["intensity"]) <= 30 + 1e-9).all()
    assert table["label"].tolist() == [everything.group_names[g] for g in everything.groups]


@pytest.mark.parametrize("dims", [2, 3])
def test_it_is_as_large_and_as_dense_as_asked_and_where_it_should_be(dims) -> None:
    made = lung_abnormalities(
        16,
        vary=("location", "intensity"),
        levels={"location": 4, "intensity": (-550, 30)},
        dims=dims,
        size=36,
        noise=0,
        shape=96 if dims == 2 else (40, 64, 64),
        background="phantom",
        nuisance=STILL,
    )
    ball = np.pi * 18**2 if dims == 2 else 4 / 3 * np.pi * 18**3
    assert made.table["content_mm"].between(0.9 * ball, 1.1 * ball).all()
    for image, mask, lung, row in zip(
        made.images, made.masks, made.lung, made.table.to_dict("records"), strict=True
    ):
        assert abs(np.median(image[mask]) - row["intensity_hu"]) < 30
        centre = np.argwhere(mask).mean(axis=0)
        middle = np.argwhere(lung).mean(axis=0)
        assert (centre[-1] < middle[-1]) == (row["side"] == "right")  # the patient's, on our left
        # up in a slice is the front; up in a volume is the head, the last slices
        first = centre[0] < middle[0]
        assert first == ((row["half"] == "upper") == (dims == 2))


def test_shapes_differ_in_shape_and_not_in_size() -> None:
    made = lung_abnormalities(
        6, vary="shape", levels=3, size=44, shape=160, background="phantom", nuisance=STILL
    )
    reach = {}
    for mask, word in zip(made.masks, made.table["shape"], strict=True):
        points = np.argwhere(mask) * made.spacing[0]
        reach[word] = np.linalg.norm(points - points.mean(0), axis=1).max() * 2
    assert reach["round"] < 50 < 55 < reach["spiculated"] and reach["elongated"] > 62
    assert made.table["content_mm"].between(0.88 * np.pi * 22**2, 1.12 * np.pi * 22**2).all()


@pytest.mark.parametrize("noise", [0.0, 30.0, 90.0])
def test_noise_is_as_strong_as_asked(noise) -> None:
    pair = [
        lung_abnormalities(
            4, vary="size", levels={"size": (24, 25)}, noise=level,
            shape=128, background="phantom", nuisance=STILL,
        ).images.astype(float)
        for level in (0.0, noise)
    ]  # fmt: skip
    difference = (pair[1] - pair[0])[pair[0] > -900]
    assert difference.std() == pytest.approx(noise, rel=0.05, abs=0.1)


def test_outside_the_abnormality_groups_do_not_differ() -> None:
    """The same random numbers, two levels: only what was planted is different."""
    options = {"vary": "noise", "background": "phantom", "levels": {"noise": (10, 11)}}
    small, large = (
        lung_abnormalities(4, size=size, intensity=hu, seed=5, **options)
        for size, hu in ((30, -500), (50, 40))
    )
    away = ~large.masks
    for axis in (1, 2):  # its edge reaches one pixel further
        away &= ~np.roll(large.masks, 1, axis) & ~np.roll(large.masks, -1, axis)
    changed = (small.images != large.images) & away
    assert changed.mean() < 0.02


def test_edges_fill_pixels_in_part() -> None:
    made = lung_abnormalities(
        4, vary="intensity", noise=0, size=40, background="phantom", nuisance=STILL
    )
    solid = made.images[made.table["intensity_hu"] > 0][0]
    rim = np.sort(solid[made.lung[0]])
    assert ((rim > -700) & (rim < -100)).sum() > 10


def test_same_seed_same_bytes() -> None:
    def make(seed: int) -> simulate.LungSimulation:
        return lung_abnormalities(8, vary="size", background="phantom", seed=seed)

    assert digest(make(1)) == digest(make(1)) != digest(make(2))


def test_every_group_has_every_background() -> None:
    made = lung_abnormalities(
        48, vary="size", levels=3, background="phantom", nuisance=Nuisance(4, 2)
    )
    counts = made.table.groupby(["label", "patient", "slice"]).size()
    assert len(counts) == 3 * 4 and (counts == 4).all()
    assert made.table["patient"].nunique() == 2


def test_tiles_are_an_ordinary_source(everything) -> None:
    source = everything.tiles()
    tiles.check_source(source)
    assert len(source) == 64 and source.shape == (48, 48)
    np.testing.assert_array_equal(source.read([3])[0], everything.images[3])
    assert source.window == (-1350.0, 150.0)
    assert source.table["label"].tolist() == everything.table["label"].tolist()
    grey = everything.tiles(windowed=True)
    assert grey.dtype == np.uint8
    np.testing.assert_array_equal(grey.read([3])[0], everything.windowed()[3])


def test_a_volume_is_a_tile_too() -> None:
    made = lung_abnormalities(4, vary="location", dims=3, shape=(12, 32, 32), background="phantom")
    tiles.check_source(made.tiles())
    assert made.tiles().shape == made.windowed().shape[1:] == (12, 32, 32)
    assert not (made.masks & ~made.lung).any() and len(made.spacing) == 3


def test_what_was_made_cannot_be_written_to(everything) -> None:
    with pytest.raises(ValueError, match="read-only"):
        everything.images[0] = 0


def test_ones_own_ct() -> None:
    volume = simulate.thorax(seed=4).volume
    made = lung_abnormalities(4, vary="size", background=volume)
    assert "given" in made.source and set(made.table["patient"]) == {"1"}


@pytest.fixture(scope="module")
def real() -> simulate.LungSimulation:
    try:
        fetch("lung-1")
    except FetchFailed as error:
        pytest.skip(f"the CT is neither in the cache nor can it be fetched: {error}")
    return lung_abnormalities(
        16, vary="location", levels=4, background="ct", nuisance=Nuisance(4, 2)
    )


def test_real_lungs(real) -> None:
    """Lung is nearly air, not the chest wall; both patients have a plausible amount of it."""
    assert "real CT" in real.source and set(real.table["patient"]) == {"1", "2"}
    assert not (real.masks & ~real.lung).any()
    for image, mask, lung in zip(real.images, real.masks, real.lung, strict=True):
        assert np.median(image[lung & ~mask]) < -700
        assert 0.15 < lung.mean() < 0.5
    areas = real.table["content_mm"] / (np.pi * 22**2)
    assert areas.between(0.75, 1.2).all()


def test_without_the_ct_auto_says_so_and_takes_the_phantom(monkeypatch, tmp_path) -> None:
    from widgetkit.simulate import background

    monkeypatch.setenv("WIDGETKIT_CACHE", str(tmp_path))
    monkeypatch.setenv("WIDGETKIT_OFFLINE", "1")
    for cached in (background._named, background._chests):
        cached.cache_clear()
    with pytest.warns(UserWarning, match="phantom is used"):
        made = lung_abnormalities(4, vary="size")
    assert made.source.startswith("phantom")
    with pytest.raises(FetchFailed, match="OFFLINE"):
        lung_abnormalities(4, vary="size", background="ct")


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"vary": "sizes"}, UnknownName, "size"),
        ({"vary": ()}, InvalidInput, "vary"),
        ({"vary": ("size", "size")}, InvalidInput, "once"),
        ({"levels": 1}, InvalidInput, "at least 2"),
        ({"levels": {"size": (30,)}}, InvalidInput, "at least 2"),
        ({"levels": {"size": (30, 30)}}, InvalidInput, "different"),
        ({"levels": {"noise": 2}}, InvalidInput, "not among"),
        ({"levels": {"noises": 2}}, UnknownName, "noise"),
        ({"levels": 2.5}, InvalidInput, "levels"),
        ({"vary": "location", "levels": 5}, InvalidInput, "there are 4"),
        ({"n": 3}, TooFew, "at least 4"),
        ({"n": 0}, InvalidInput, "n"),
        ({"noise": -1}, InvalidInput, "noise"),
        ({"vary": "noise", "levels": {"noise": (-5, 5)}}, InvalidInput, "noise"),
        ({"noise": float("nan")}, InvalidInput, "noise"),
        ({"location": "middle"}, UnknownName, "right-upper"),
        ({"form": "square"}, UnknownName, "round"),
        ({"shape": (8, 8)}, InvalidInput, "at least 24"),
        ({"shape": (64, 64, 64)}, InvalidInput, "2 sides"),
        ({"dims": 4}, InvalidInput, "dims"),
        ({"shape": 32, "levels": {"size": (6, 50)}}, InvalidInput, "pixels"),
        ({"levels": {"size": (24, 150)}}, InvalidInput, "room"),
        ({"background": "mri"}, InvalidInput, "phantom"),
        ({"background": Volume(np.zeros((9, 64, 64), np.float32))}, InvalidInput, "HU"),
        ({"background": Volume(np.zeros((9, 64, 64), np.float32), units="HU")}, InvalidInput, "lung"),
        ({"background": ()}, InvalidInput, "Volumes"),
        ({"seed": -1}, InvalidInput, "seed"),
    ],
)  # fmt: skip
def test_bad_input(change, error, message) -> None:
    options = {"n": 8, "vary": "size", "background": "phantom", **change}
    with pytest.raises(error, match=message):
        lung_abnormalities(**options)


@pytest.mark.parametrize(
    "change",
    [{"backgrounds": 0}, {"patients": 0}, {"shift_mm": -1}, {"heights": (0.7, 0.2)}, {"size": float("nan")}],
)  # fmt: skip
def test_a_bad_nuisance(change) -> None:
    with pytest.raises(InvalidInput):
        Nuisance(**change)
