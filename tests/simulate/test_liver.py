"""What a concept says is to be seen where its mask says, and classes show what their table says."""

from __future__ import annotations

import hashlib
import sys

import numpy as np
import pytest
from scipy import ndimage

from widgetkit import simulate, tiles
from widgetkit.errors import InvalidInput, MissingDependency, UnknownName
from widgetkit.simulate import liver_background, liver_lesions
from widgetkit.simulate import liver_patterns as patterns
from widgetkit.simulate.liver_patterns import (
    BODIES,
    CAPSULE,
    CLASSES,
    CONCEPTS,
    CORE,
    FIBROSIS,
    FILLING,
    FLUID,
    HYPER,
    INFILTRATIVE,
    LATE_ISO,
    NECROSIS,
    NODULES,
    POOL,
    RIM,
    SCAR,
    WASHOUT,
)

ARTERIAL, VENOUS, DELAYED = range(3)
EACH = 4

#: What else is on, the concept, and by which grey values, in units of liver, its place differs at
#: least from the liver around ("liver") or from the rest of the lesion ("rest"), in which phase.
EXPECTED = [
    ((HYPER,), HYPER, "liver", ARTERIAL, 0.15),
    ((HYPER, WASHOUT), WASHOUT, "liver", VENOUS, -0.08),
    ((HYPER, WASHOUT), WASHOUT, "liver", DELAYED, -0.1),
    ((WASHOUT,), WASHOUT, "liver", DELAYED, -0.1),
    ((HYPER, LATE_ISO), HYPER, "liver", ARTERIAL, 0.15),
    ((HYPER, POOL), POOL, "liver", ARTERIAL, 0.15),
    ((HYPER, POOL), POOL, "liver", VENOUS, 0.15),
    ((HYPER, POOL), POOL, "liver", DELAYED, 0.1),
    ((POOL, NODULES), NODULES, "rest", ARTERIAL, 0.25),
    ((POOL, NODULES), NODULES, "liver", ARTERIAL, 0.15),
    ((POOL, NODULES, FILLING), FILLING, "liver", ARTERIAL, -0.1),
    ((POOL, NODULES, FILLING), FILLING, "liver", DELAYED, 0.1),
    ((NODULES, FILLING), FILLING, "liver", ARTERIAL, -0.1),
    ((NODULES, FILLING), FILLING, "liver", DELAYED, 0.02),
    ((FLUID,), FLUID, "liver", ARTERIAL, -0.25),
    ((FLUID,), FLUID, "liver", VENOUS, -0.4),
    ((FLUID,), FLUID, "liver", DELAYED, -0.35),
    ((RIM,), RIM, "rest", ARTERIAL, 0.2),
    ((RIM,), RIM, "liver", ARTERIAL, 0.1),
    ((HYPER, WASHOUT, CAPSULE), CAPSULE, "liver", DELAYED, 0.15),
    ((HYPER, WASHOUT, CAPSULE), CAPSULE, "rest", DELAYED, 0.25),
    ((HYPER, LATE_ISO, SCAR), SCAR, "rest", ARTERIAL, -0.2),
    ((HYPER, LATE_ISO, SCAR), SCAR, "rest", VENOUS, -0.1),
    ((HYPER, LATE_ISO, SCAR, FIBROSIS), FIBROSIS, "rest", DELAYED, 0.05),
    ((FIBROSIS,), FIBROSIS, "rest", DELAYED, 0.15),
    ((CORE,), CORE, "rest", ARTERIAL, -0.06),
    ((CORE,), CORE, "rest", VENOUS, -0.1),
    ((NECROSIS,), NECROSIS, "rest", VENOUS, -0.25),
    ((NECROSIS,), NECROSIS, "rest", DELAYED, -0.2),
]


def digest(made: simulate.LiverSimulation) -> str:
    found = hashlib.sha256()
    for array in (made.images, made.masks.packed, made.lesions, made.labels, made.labelled):
        found.update(np.ascontiguousarray(array).tobytes())
    found.update(made.table.to_csv().encode())
    return found.hexdigest()


def grey(made: simulate.LiverSimulation) -> np.ndarray:
    """Grey values in units of liver in the portal venous phase, as they were drawn."""
    return made.images.astype(np.float64) / 255 * 1.75


@pytest.fixture(scope="module")
def pure() -> dict[tuple[str, ...], simulate.LiverSimulation]:
    """Four large lesions of each combination of EXPECTED, without noise."""
    sets = sorted({asked for asked, *_ in EXPECTED} | {(INFILTRATIVE,), ()})
    made = {}
    for number, asked in enumerate(sets):
        made[asked] = liver_lesions(
            concepts=[asked] * EACH,
            size_mm=(26, 32),
            nuisance=0,
            background="phantom",
            seed=number,
        )
    return made


@pytest.fixture(scope="module")
def many() -> simulate.LiverSimulation:
    return liver_lesions(120, shortcut=0.8, background="phantom", seed=4)


@pytest.mark.parametrize(("asked", "concept", "against", "phase", "least"), EXPECTED)
def test_what_is_planted_is_where_its_mask_says(
    pure, asked, concept, against, phase, least
) -> None:
    made = pure[asked]
    values, places = grey(made)[..., phase], made.masks[concept]
    for image, place, whole in zip(values, places, made.lesions, strict=True):
        near = ndimage.binary_dilation(whole, iterations=4) & ~ndimage.binary_dilation(
            whole, iterations=2
        )
        other = near if against == "liver" else whole & ~ndimage.binary_dilation(place)
        assert place.sum() >= 5 and other.sum() >= 5
        difference = np.median(image[place]) - np.median(image[other])
        assert difference >= least if least > 0 else difference <= least


def test_what_is_like_liver_later_cannot_be_told_from_it_then(pure) -> None:
    made = pure[(HYPER, LATE_ISO)]
    for image, place in zip(grey(made), made.masks[LATE_ISO], strict=True):
        around = ndimage.binary_dilation(place, iterations=4) & ~place
        difference = np.median(image[place], axis=0) - np.median(image[around], axis=0)
        assert abs(difference[VENOUS]) < 0.12 and abs(difference[DELAYED]) < 0.12


def test_a_capsule_is_a_shell_that_the_arterial_phase_does_not_show(pure) -> None:
    made = pure[(HYPER, WASHOUT, CAPSULE)]
    assert not made.masks[CAPSULE][:, 6, 16, 16].any()  # the middle of the crop
    for image, place, whole in zip(grey(made), made.masks[CAPSULE], made.lesions, strict=True):
        inner = whole & ~place
        assert np.median(image[place, ARTERIAL]) <= np.median(image[inner, ARTERIAL]) + 0.05


def test_an_infiltrating_lesion_mixes_with_the_liver_where_its_mask_says(pure) -> None:
    sharp, fuzzy = pure[()], pure[(INFILTRATIVE,)]
    steep = []
    for made in (sharp, fuzzy):
        slopes = []
        for image, whole in zip(grey(made)[..., VENOUS], made.lesions, strict=True):
            edge = whole ^ ndimage.binary_erosion(whole)
            away = ~ndimage.binary_dilation(whole, iterations=4)
            depth = np.median(image[away]) - np.median(
                image[ndimage.binary_erosion(whole, iterations=2)]
            )
            slopes.append(np.hypot(*np.gradient(image, axis=(1, 2)))[edge].mean() / depth)
        steep.append(np.mean(slopes))
    assert steep[1] < 0.8 * steep[0]
    for image, place, whole in zip(
        grey(fuzzy)[..., VENOUS], fuzzy.masks[INFILTRATIVE], fuzzy.lesions, strict=True
    ):
        inside, outside = np.median(image[whole & ~place]), np.median(image[~whole & ~place])
        assert inside < np.median(image[place]) < outside


def test_masks_are_there_if_and_only_if_the_concept_is(many) -> None:
    for number, name in enumerate(CONCEPTS):
        there = many.masks[name].reshape(len(many), -1).any(axis=1)
        np.testing.assert_array_equal(there, many.concepts[:, number])
    assert many.lesions.reshape(len(many), -1).any(axis=1).all()


def test_places_lie_in_the_lesion_or_at_its_edge(many) -> None:
    reach = np.stack([ndimage.binary_dilation(one, iterations=3) for one in many.lesions])
    for name in CONCEPTS:
        assert not (many.masks[name] & ~reach).any()
        if name not in (CAPSULE, INFILTRATIVE):
            near = np.stack([ndimage.binary_dilation(one) for one in many.lesions])
            assert not (many.masks[name] & ~near).any()


def test_what_covers_a_structure_does_not_belong_to_it() -> None:
    made = liver_lesions(
        concepts=[{HYPER, LATE_ISO, SCAR}, {NECROSIS, CORE}, {POOL, NODULES, FILLING}] * 2,
        size_mm=(26, 30),
        background="phantom",
    )
    for above, below in ((SCAR, HYPER), (SCAR, LATE_ISO), (NECROSIS, CORE), (NODULES, FILLING)):
        assert made.masks[above].any() and not (made.masks[above] & made.masks[below]).any()


def test_classes_show_concepts_as_often_as_their_table_says() -> None:
    """Of 5,000 of each class, within five standard errors."""
    rng = np.random.default_rng(0)
    table = patterns.concept_frequencies().to_numpy()
    for label in range(len(CLASSES)):
        shown = patterns.draw(np.full(5000, label, np.int32), rng)
        error = np.sqrt(table[label] * (1 - table[label]) / 5000)
        assert (np.abs(shown.mean(axis=0) - table[label]) <= 5 * error + 1e-12).all()


def test_a_lesion_s_own_concepts_come_from_that_table(many) -> None:
    assert np.bincount(many.labels).tolist() == [20] * 6
    possible = patterns.combinations()
    for label, shown in zip(many.labels, many.concepts, strict=True):
        assert possible.probability[label, possible.number(shown)] > 0
    said = many.class_concepts.to_numpy()
    np.testing.assert_array_equal(said, many.frequencies.to_numpy() >= 0.1)
    assert said.any(axis=1).all() and said.any(axis=0).all()
    assert list(many.class_concepts.index) == list(CLASSES) == list(many.class_names)
    assert list(many.class_concepts.columns) == list(CONCEPTS) == list(many.concept_names)


def test_combinations_are_probabilities_and_overlap() -> None:
    every = patterns.combinations()
    np.testing.assert_allclose(every.probability.sum(axis=1), 1)
    assert len(np.unique(every.concepts, axis=0)) == len(every.concepts)
    bodies = [set(parts) for parts in BODIES.values()]
    for shown in every.concepts:
        names = {name for name, there in zip(CONCEPTS, shown, strict=True) if there}
        assert any(names & {*sum(BODIES.values(), ())} == body for body in bodies)
    # errors are honest: no one can classify all of them from their concepts
    assert 0.9 < patterns.best_accuracy() < 0.95


def test_at_most_four_are_labelled_and_all_of_them_are_there() -> None:
    rng = np.random.default_rng(1)
    shown = rng.random((500, 14)) < 0.35
    noted = patterns.labelled(shown, rng)
    assert not (noted & ~shown).any()
    np.testing.assert_array_equal(noted.sum(1), np.minimum(shown.sum(1), 4))


def test_patients_keep_their_scanner_and_other_seeds_have_others(many) -> None:
    table = many.table
    assert (table.groupby("patient")["scanner"].nunique() == 1).all()
    sizes = table.groupby("patient").size()
    assert sizes.max() >= 3 and 0.4 < (sizes == 1).mean() < 0.95
    other = liver_lesions(12, background="phantom", seed=5)
    assert not set(other.patients) & set(many.patients)
    assert not set(other.tiles().table["id"]) & set(many.tiles().table["id"])


def test_the_line_goes_with_a_class_as_much_as_asked() -> None:
    shares = {}
    for shortcut in (0.0, 0.75, 1.0):
        rng = np.random.default_rng(3)
        labels = np.arange(3000, dtype=np.int32) % 6
        marked, _ = simulate.liver._scanners(labels, np.arange(3000), shortcut, rng)
        shares[shortcut] = marked[labels == 5].mean(), marked[labels != 5].mean()
    assert shares[0.0] == pytest.approx((0.2, 0.2), abs=0.05)
    assert shares[0.75] == pytest.approx((0.8, 0.05), abs=0.05)
    assert shares[1.0] == (1, 0)


def test_the_line_is_where_it_is_said_to_be(many) -> None:
    columns = np.flatnonzero(many.mark[0, 0])
    assert len(columns) == 2 and many.mark.sum() == 12 * 32 * 2
    rough = np.abs(np.diff(many.images.astype(float), axis=2)).mean(axis=(1, 2, 4))  # (n, W)
    for marked, rows in ((True, rough[many.marked]), (False, rough[~many.marked])):
        ratio = rows[:, columns].mean() / rows[:, 8:24].mean()
        assert ratio > 2 if marked else 0.7 < ratio < 1.4


def test_same_seed_same_bytes() -> None:
    def make(seed: int) -> simulate.LiverSimulation:
        return liver_lesions(12, shortcut=0.5, background="phantom", seed=seed)

    assert digest(make(1)) == digest(make(1)) != digest(make(2))


def test_noise_changes_nothing_but_the_picture() -> None:
    clean, noisy = (
        liver_lesions(12, nuisance=nuisance, background="phantom", seed=6) for nuisance in (0, 1)
    )
    np.testing.assert_array_equal(clean.masks.packed, noisy.masks.packed)
    assert clean.table.equals(noisy.table)
    difference = noisy.images.astype(float) - clean.images
    assert 3 < difference.std() < 25


def test_switches_decide_what_is_shown_and_the_class_follows() -> None:
    asked = [{FLUID}, {POOL, NODULES, FILLING}, {HYPER, WASHOUT, CAPSULE}, {RIM, CORE, NECROSIS}]
    made = liver_lesions(concepts=asked, background="phantom")
    for shown, names in zip(made.concepts, asked, strict=True):
        assert {n for n, there in zip(CONCEPTS, shown, strict=True) if there} == names
    named = np.array(CLASSES)[made.labels].tolist()
    assert named[:3] == ["cyst", "haemangioma", "hepatocellular carcinoma"]
    again = liver_lesions(concepts=made.concepts, background="phantom")
    assert digest(made) == digest(again)


def test_tiles_are_an_ordinary_source_that_says_what_it_is(many) -> None:
    source = many.tiles()
    tiles.check_source(source)
    assert source.shape == (12, 32, 32, 3) == many.shape and source.dtype == np.uint8
    np.testing.assert_array_equal(source.read([3])[0], many.images[3])
    assert source.table["label"].tolist() == many.table["label"].tolist()
    assert source.table["source"].str.contains("phantom").all()
    assert set(many.table["data"]) == {"phantom"} and many.kind == "phantom"
    assert "phantom" in repr(many)


def test_masks_are_compact_and_taken_by_rows(many) -> None:
    assert many.masks.packed.nbytes == 120 * 14 * 12 * 32 * 32 // 8
    assert list(many.masks) == list(CONCEPTS) and len(many.masks) == 14 and FLUID in many.masks
    few = many.masks.take(FLUID, [5, 3])
    np.testing.assert_array_equal(few, many.masks[FLUID][[5, 3]])
    with pytest.raises(UnknownName, match="central scar"):
        many.masks["central scars"]
    with pytest.raises(InvalidInput, match="Packed"):
        type(many.masks)(many.masks.packed[:, :3])


def test_what_was_made_cannot_be_written_to(many) -> None:
    for array in (many.images, many.masks.packed, many.lesions, many.concepts):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


def test_real_parenchyma() -> None:
    pytest.importorskip("pydicom")
    made = liver_lesions(6, background="liver")
    assert made.kind == "semi-synthetic" and "semi-synthetic" in made.source
    assert made.source.startswith("semi-synthetic") and "semi-synthetic" in repr(made)
    assert made.tiles().table["source"].str.contains("semi-synthetic").all()
    texture, usable = liver_background.real_texture()
    # the lesion that was marked in the slice, and the large mass, are not used
    assert not usable[148:165, 55:72].any() and usable[118:142, 128:148].mean() < 0.01
    assert 3000 < usable.sum() < 7000 and abs(texture[usable].mean()) < 0.02
    assert 0.02 < liver_background.parenchyma("liver").planes.std() < 0.1


def test_without_pydicom_auto_says_so_and_takes_the_phantom(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "pydicom", None)
    liver_background._made.cache_clear()
    try:
        with pytest.warns(UserWarning, match="phantom is used"):
            made = liver_lesions(2)
        assert made.source.startswith("phantom")
        with pytest.raises(MissingDependency, match="pydicom"):
            liver_lesions(2, background="liver")
    finally:
        liver_background._made.cache_clear()


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"n": 0}, InvalidInput, "n"),
        ({"n": 2.5}, InvalidInput, "n"),
        ({"shortcut": 1.5}, InvalidInput, "shortcut"),
        ({"shortcut": float("nan")}, InvalidInput, "shortcut"),
        ({"shortcut": True}, InvalidInput, "shortcut"),
        ({"nuisance": -1}, InvalidInput, "nuisance"),
        ({"nuisance": "much"}, InvalidInput, "nuisance"),
        ({"size_mm": 20}, InvalidInput, "size_mm"),
        ({"size_mm": (30, 20)}, InvalidInput, "size_mm"),
        ({"size_mm": (2, 20)}, InvalidInput, "size_mm"),
        ({"size_mm": (20, 80)}, InvalidInput, "size_mm"),
        ({"size_mm": (20, float("nan"))}, InvalidInput, "size_mm"),
        ({"background": "ct"}, InvalidInput, "phantom"),
        ({"seed": -1}, InvalidInput, "seed"),
        ({"seed": None}, InvalidInput, "seed"),
        ({"concepts": []}, InvalidInput, "lesions"),
        ({"concepts": [{FLUID}], "n": 2}, InvalidInput, "leave n out"),
        ({"concepts": "washout"}, InvalidInput, "one text"),
        ({"concepts": ["washout"]}, InvalidInput, "collection"),
        ({"concepts": [{"wash out"}]}, UnknownName, "washout"),
        ({"concepts": [{FLUID, HYPER}]}, InvalidInput, "at once"),
        ({"concepts": [{CAPSULE, INFILTRATIVE}]}, InvalidInput, "exclude"),
        ({"concepts": [{HYPER, RIM}]}, InvalidInput, "rim"),
        ({"concepts": np.zeros((2, 3))}, InvalidInput, "14"),
        ({"concepts": np.full((1, 14), 0.5)}, InvalidInput, "0 and 1"),
    ],
)
def test_bad_input(change, error, message) -> None:
    with pytest.raises(error, match=message):
        liver_lesions(**{"background": "phantom", **change})
