"""Concepts by density ratio: Bayes' rule by hand, thresholds, exclusions, and what is refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import logsumexp
from scipy.stats import multivariate_normal
from sklearn.base import clone
from sklearn.covariance import LedoitWolf
from sklearn.metrics import roc_auc_score

from tests.concepts.planted import CLASS_CONCEPTS, CLASSES, NAMES, planted
from tests.concepts.slow import rodeo
from widgetkit.concepts import DensityRatioConcepts, ShrunkNormal, identify
from widgetkit.errors import (
    BadActivations,
    Cancelled,
    ChannelMismatch,
    InvalidInput,
    TooFew,
    UnknownName,
)


def log_density(density: str, X: np.ndarray, x: np.ndarray) -> np.ndarray:
    """By the published loop, or by scikit-learn's and scipy's normal."""
    if density == "rodeo":
        return np.array([rodeo(point, X, least=0.3)[0] for point in x])
    normal = LedoitWolf().fit(X)
    return np.atleast_1d(multivariate_normal(normal.location_, normal.covariance_).logpdf(x))


def log_ratio(
    density: str, average: str, X: np.ndarray, inside: np.ndarray, x: np.ndarray
) -> float:
    """Of one image: ``x`` (augmentations, d) against all rows of ``X`` and those ``inside``."""
    ratio = log_density(density, X[inside], x) - log_density(density, X, x)
    return float(logsumexp(ratio) - np.log(len(ratio)) if average == "ratio" else ratio.mean())


@pytest.mark.parametrize("density", ["rodeo", "normal"])
@pytest.mark.parametrize("average", ["ratio", "log"])
def test_the_score_is_bayes_rule(density: str, average: str) -> None:
    data, new = planted(0, 40, 3, d=6), planted(1, 5, 3, d=6)
    model = DensityRatioConcepts(density, average=average, thresholds="published")  # type: ignore[arg-type]
    model.fit(data.X, data.Y, images=data.images, names=NAMES)
    found, scale = model.score(new.X, images=new.images), data.X.std(axis=0)
    for f in range(5):
        for i in range(5):
            x = new.X[new.images == i] / scale
            expected = log_ratio(density, average, data.X / scale, data.Y[:, f] == 1, x)
            assert_allclose(found[i, f], expected + np.log(1 / 5), rtol=1e-6, atol=1e-6)


def test_known_normals_give_the_known_posterior() -> None:
    """Examples from N(1, 1), everything from N(0, 1): log p(f | x) = log p(f) + x - 1/2."""
    generator = np.random.default_rng(0)
    # the population is given whole, so examples are drawn from it by the ratio itself
    X = generator.normal(size=(60_000, 1))
    rows = np.flatnonzero(generator.random(len(X)) < np.exp(X[:, 0] - 0.5) / np.exp(3.5))
    model = DensityRatioConcepts("normal", prior={"f": 0.25}, thresholds="published")
    model.fit(X, {"f": rows})
    x = np.linspace(-1.5, 1.5, 7)[:, None]
    assert_allclose(model.score(x)[:, 0], np.log(0.25) + x[:, 0] - 0.5, atol=0.1)


def test_published_thresholds_and_scale() -> None:
    data = planted(0, 60, 2, d=6)
    model = DensityRatioConcepts("normal", thresholds="published")
    model.fit(data.X, data.Y, images=data.images)
    scores = model.score(data.X, images=data.images)
    shown = data.Y[::2] == 1
    assert_allclose(model.thresholds_, [scores[shown[:, f], f].min() for f in range(5)])
    assert_allclose(model.scale_, scores.max(axis=0))


@pytest.mark.parametrize("density", ["rodeo", "normal"])
def test_held_out_thresholds_are_those_of_refits(density: str) -> None:
    """Each example scored by densities without its patient, the other images by all."""
    data = planted(0, 30, 2, d=4)
    model = DensityRatioConcepts(density)  # type: ignore[arg-type]
    model.fit(data.X, data.Y, groups=data.patients, images=data.images)
    scale = data.X.std(axis=0)
    for f in range(5):
        least = np.inf
        for image in np.unique(data.images[data.Y[:, f] == 1]):
            x = data.X[data.images == image] / scale
            kept = data.patients != data.patients[data.images == image][0]
            inside = data.Y[kept, f] == 1
            least = min(least, log_ratio(density, "ratio", data.X[kept] / scale, inside, x))
        assert_allclose(model.thresholds_[f], least + np.log(1 / 5), rtol=1e-6, atol=1e-6)


def test_planted_concepts_are_found_in_new_patients() -> None:
    data, new = planted(0, 160, d=20), planted(1, 80, d=20)
    for density in ("normal", "rodeo"):
        model = DensityRatioConcepts(density).fit(data.X, data.Y, groups=data.patients)  # type: ignore[arg-type]
        scores = model.score(new.X)
        auc = [roc_auc_score(new.Y[:, f], scores[:, f]) for f in range(5)]
        assert min(auc) > {"normal": 0.9, "rodeo": 0.7}[density], auc


def test_in_many_dimensions_published_thresholds_find_nothing_new() -> None:
    """Examples lie in their own density, new images of the same concepts do not."""
    data, new = planted(0, 200, d=100), planted(1, 80, d=100)
    Y = np.where((np.cumsum(data.Y, axis=0) <= 12) & (data.Y == 1), 1.0, np.nan)  # a dozen examples
    found = {
        how: DensityRatioConcepts("normal", thresholds=how)  # type: ignore[arg-type]
        .fit(data.X, Y, groups=data.patients)
        .identify(new.X)
        .present
        for how in ("published", "held out")
    }
    there = new.Y == 1
    assert found["published"][there].mean() < 0.1
    assert found["held out"][there].mean() > 0.6
    assert there[found["held out"]].mean() > 1.5 * there.mean()


def test_unlabelled_rows_count_for_the_population_only() -> None:
    data = planted(0, 60, d=5)
    gaps = np.where(data.Y == 0, np.nan, data.Y)
    one = DensityRatioConcepts("normal").fit(data.X, data.Y)
    other = DensityRatioConcepts("normal").fit(data.X, gaps)
    mapping = DensityRatioConcepts("normal").fit(
        data.X, {name: np.flatnonzero(data.Y[:, f]) for f, name in enumerate(NAMES)}
    )
    assert mapping.names_ == NAMES
    for model in (other, mapping):
        assert_array_equal(model.score(data.X), one.score(data.X))
    table = DensityRatioConcepts("normal").fit(
        data.X, pd.DataFrame(data.Y.astype(object), columns=NAMES)
    )
    assert table.names_ == NAMES and and_equal(table.score(data.X), one.score(data.X))


def and_equal(a: np.ndarray, b: np.ndarray) -> bool:
    assert_array_equal(a, b)
    return True


def test_order_of_rows_and_names_of_images_do_not_matter() -> None:
    data = planted(0, 30, 3, d=5)
    model = DensityRatioConcepts("normal").fit(data.X, data.Y, images=data.images)
    shuffle = np.random.default_rng(0).permutation(len(data.X))
    other = data.rows(shuffle)
    again = DensityRatioConcepts("normal").fit(
        other.X, other.Y, images=[f"lesion {i}" for i in other.images]
    )
    assert_allclose(again.thresholds_, model.thresholds_, rtol=1e-9)
    first = np.unique(other.images, return_index=True)[1]
    order = np.argsort(np.argsort(first))
    found = model.score(other.X, images=other.images)[order]
    assert_allclose(found, model.score(data.X, images=data.images), rtol=1e-9)


def test_no_one_and_all_examples() -> None:
    data = planted(0, 30, 2, d=5)
    Y = np.zeros((60, 4))
    Y[:, 1] = 1
    Y[6:8, 2] = 1
    Y[:, 3] = data.Y[:, 0]
    model = DensityRatioConcepts("normal").fit(
        data.X, Y, images=data.images, names=["none", "all", "one", "some"]
    )
    assert model.usable_.tolist() == [False, False, True, True]
    assert model.notes_[0] == "No example."
    assert "nothing to compare" in model.notes_[1]
    assert model.notes_[2].startswith("One example: only its augmentations")
    assert "not held out" in model.notes_[2] and model.notes_[3] == ""
    scores = model.score(data.X, images=data.images)
    assert np.isnan(scores[:, :2]).all() and np.isfinite(scores[:, 2:]).all()
    assert not model.identify(data.X, images=data.images).present[:, :2].any()
    single = DensityRatioConcepts("normal").fit(data.X, np.stack([Y[:, 3], np.eye(60)[0]], axis=1))
    assert "without augmentations" in single.notes_[1] and not single.usable_[1]
    with pytest.raises(TooFew, match=r"'concept 0': No example"):
        DensityRatioConcepts().fit(data.X, Y[:, :2])
    same = data.X.copy()
    same[6:8] = 1.0
    again = DensityRatioConcepts("normal").fit(same, Y[:, 2:], images=data.images)
    assert "same activations" in again.notes_[0]


def test_constant_and_dependent_units() -> None:
    data = planted(0, 60, d=5)
    X = np.concatenate([data.X, np.full((60, 1), 2.0), data.X[:, :1]], axis=1)
    model = DensityRatioConcepts("normal").fit(X, data.Y)
    assert "1 of 7 units are constant" in model.note_
    assert np.isfinite(model.score(X)).all()


def test_prior_moves_scores_by_its_logarithm() -> None:
    data = planted(0, 40, d=5)
    one = DensityRatioConcepts("normal").fit(data.X, data.Y)
    given = np.array([0.5, 0.1, 0.2, 1.0, 0.3])
    other = DensityRatioConcepts("normal", prior=given).fit(data.X, data.Y)
    assert_allclose(other.score(data.X) - one.score(data.X), np.log(given * 5) + 0 * data.Y)
    assert_array_equal(other.identify(data.X).present, one.identify(data.X).present)
    for bad in (np.zeros(5), [0.1], {"rim": 0.1}, np.full(5, 1.5)):
        with pytest.raises((InvalidInput, UnknownName)):
            DensityRatioConcepts("normal", prior=bad).fit(data.X, data.Y)


def test_directions_point_from_everything_to_the_examples() -> None:
    data = planted(0, 60, d=5)
    model = DensityRatioConcepts("normal").fit(data.X, data.Y)
    for f in range(5):
        gap = data.X[data.Y[:, f] == 1].mean(axis=0) - data.X.mean(axis=0)
        assert_allclose(model.direction_[f], gap / np.linalg.norm(gap))


# -- identification ----------------------------------------------------------------------
SCORES = np.array([[5.0, 4.0, 3.0, 2.0, 1.0], [-1.0, -1.0, 2.0, 3.0, 0.5], [-1.0] * 5])


def test_at_most_so_many_by_strength() -> None:
    found = identify(SCORES, np.zeros(5), NAMES)
    assert found.of(0) == ["thin wall", "filling", "scar", "washout"]
    assert found.of(1) == ["washout", "scar", "rim"] and found.of(2) == []
    assert identify(SCORES, np.zeros(5), NAMES, most=None).present[0].all()
    scaled = identify(SCORES, np.zeros(5), NAMES, scale=np.array([9.0, 0, 0, 0, 0]), most=2)
    assert scaled.of(0) == ["filling", "scar"]
    assert found.share("rim") == pytest.approx(1 / 3)
    table = found.table()
    assert table[table["image"] == 1]["concept"].tolist() == ["washout", "scar", "rim"]
    assert identify(SCORES, np.full(5, 2.0), NAMES).of(1) == ["washout"]  # above, not equal


def test_concepts_that_no_class_shares_with_the_top_one_are_left_out() -> None:
    found = identify(SCORES, np.zeros(5), NAMES, class_concepts=CLASS_CONCEPTS)
    assert found.of(0) == ["thin wall"] and found.excluded[0].tolist() == [False] + [True] * 4
    assert found.of(1) == ["washout", "rim"]  # washout and rim are of HCC, scar is not
    assert not found.contradicts.any()


def test_concepts_that_contradict_the_class_are_flagged_or_left_out() -> None:
    table = pd.DataFrame(CLASS_CONCEPTS, index=CLASSES, columns=NAMES)
    shuffled = table[list(NAMES[::-1])]
    found = identify(
        SCORES,
        np.zeros(5),
        NAMES,
        class_concepts=shuffled,
        predicted=["cyst", "FNH", "HCC"],
        exclude="none",
    )
    assert found.of(1) == ["washout", "scar", "rim"]
    assert found.contradicts[1].tolist() == [False, False, False, True, False]
    out = identify(
        SCORES,
        np.zeros(5),
        NAMES,
        class_concepts=CLASS_CONCEPTS,
        classes=CLASSES,
        predicted=[0, 2, 3],
        exclude="class",
    )
    assert out.of(1) == ["scar", "rim"] and out.of(0) == ["thin wall"]
    assert_array_equal(out.contradicts, out.excluded)


def test_a_concept_of_no_class_goes_with_all() -> None:
    loose = CLASS_CONCEPTS.copy()
    loose[:, 4] = False
    found = identify(SCORES, np.zeros(5), NAMES, class_concepts=loose)
    assert found.of(0) == ["thin wall", "rim"]


def test_unknown_classes_and_concepts() -> None:
    table = pd.DataFrame(CLASS_CONCEPTS, index=CLASSES, columns=NAMES)
    with pytest.raises(UnknownName, match=r"'HC'.*'HCC'"):
        identify(SCORES, np.zeros(5), NAMES, class_concepts=table, predicted=["HC"] * 3)
    with pytest.raises(UnknownName, match=r"'rims'.*'rim'"):
        identify(SCORES, np.zeros(5), NAMES, class_concepts=table.rename(columns={"rim": "rims"}))
    with pytest.raises(InvalidInput, match="no column for concept 'rim'"):
        identify(SCORES, np.zeros(5), NAMES, class_concepts=table.drop(columns="rim"))
    with pytest.raises(ChannelMismatch):
        identify(SCORES, np.zeros(5), NAMES, class_concepts=CLASS_CONCEPTS[:, :3])
    with pytest.raises(InvalidInput, match="gaps"):
        identify(SCORES, np.zeros(5), NAMES, class_concepts=table.where(table))
    with pytest.raises(InvalidInput, match="predicted"):
        identify(SCORES, np.zeros(5), NAMES, class_concepts=table, exclude="class")
    with pytest.raises(InvalidInput, match="class_concepts"):
        identify(SCORES, np.zeros(5), NAMES, predicted=["HCC"] * 3)
    with pytest.raises(UnknownName, match="exclude"):
        identify(SCORES, np.zeros(5), NAMES, exclude="all")  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="one class an image"):
        identify(SCORES, np.zeros(5), NAMES, class_concepts=table, predicted=["HCC"])
    with pytest.raises(UnknownName, match="'scars'"):
        identify(SCORES, np.zeros(5), NAMES).share("scars")


# -- bad input ---------------------------------------------------------------------------
def test_bad_labels() -> None:
    data = planted(0, 20, 2, d=4)
    model = DensityRatioConcepts("normal")
    with pytest.raises(InvalidInput, match=r"holds 2 for concept 'scar' in row 3"):
        model.fit(data.X, np.where(np.arange(200).reshape(40, 5) == 17, 2.0, data.Y), names=NAMES)
    with pytest.raises(InvalidInput, match="'yes'"):
        model.fit(data.X, np.full((40, 2), "yes"))
    with pytest.raises(InvalidInput, match=r"\(40, F\)"):
        model.fit(data.X, data.Y[:3])
    with pytest.raises(ChannelMismatch, match="2 names for 5"):
        model.fit(data.X, data.Y, names=["a", "b"])
    with pytest.raises(InvalidInput, match="named twice"):
        model.fit(data.X, data.Y[:, :2], names=["a", "a"])
    with pytest.raises(UnknownName, match=r"'scars'.*'scar'"):
        model.fit(data.X, {"scar": [1, 2]}, names=["scars"])
    with pytest.raises(InvalidInput, match="there are 40 rows"):
        model.fit(data.X, {"scar": [1, 40]})
    with pytest.raises(InvalidInput, match="must be row numbers"):
        model.fit(data.X, {"scar": [0.5]})
    with pytest.raises(InvalidInput, match="differ in their labels"):
        model.fit(data.X, np.arange(40) % 2, images=data.images)
    with pytest.raises(InvalidInput, match="differ in their patient"):
        model.fit(data.X, data.Y, images=data.images, groups=np.arange(40))
    with pytest.raises(InvalidInput, match="missing"):
        model.fit(data.X, data.Y, groups=[None] * 40)


def test_bad_activations_and_parameters() -> None:
    data = planted(0, 20, d=4)
    with pytest.raises(BadActivations):
        DensityRatioConcepts().fit(np.where(data.X > 1, np.nan, data.X), data.Y)
    fitted = DensityRatioConcepts("normal").fit(data.X, data.Y)
    with pytest.raises(ChannelMismatch):
        fitted.score(data.X[:, :3])
    for bad in ({"density": "kde"}, {"average": "mean"}, {"thresholds": "in"}):
        with pytest.raises(UnknownName):
            DensityRatioConcepts(**bad).fit(data.X, data.Y)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="LocalRodeo"):
        DensityRatioConcepts(3).fit(data.X, data.Y)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="most"):
        DensityRatioConcepts("normal", most=0).fit(data.X, data.Y).identify(data.X)
    assert fitted.score(np.empty((0, 4))).shape == (0, 5)


def test_a_density_of_ones_own_and_clone() -> None:
    data = planted(0, 30, d=4)
    model = DensityRatioConcepts(ShrunkNormal(0.5), most=2)
    model.fit(data.X, data.Y)
    assert not hasattr(model.density, "shrinkage_")  # what was given is not fitted
    copy = clone(model)
    assert copy.most == 2 and copy.density.shrinkage == 0.5 and not hasattr(copy, "names_")  # type: ignore[union-attr]
    assert not np.allclose(
        model.score(data.X), DensityRatioConcepts("normal").fit(data.X, data.Y).score(data.X)
    )


def test_a_cancelled_fit_changes_nothing() -> None:
    data = planted(0, 40, d=4)
    model = DensityRatioConcepts("normal").fit(data.X, data.Y, names=NAMES)
    before, seen = model.score(data.X), []
    calls = iter([False, False, True])
    with pytest.raises(Cancelled):
        model.fit(
            data.X * 2,
            data.Y[:, :2],
            progress=lambda done, total: seen.append((done, total)),
            cancel=lambda: next(calls),
        )
    assert model.names_ == NAMES and and_equal(model.score(data.X), before)
    assert [done for done, _ in seen] == [0, 1, 2]
