"""The experiment from end to end, on a tiny configuration; and the pieces it is made of."""

from __future__ import annotations

from threading import Event

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from widgetkit.errors import Cancelled, InvalidInput, TooFew, UnknownName
from widgetkit.explain.clam import Clam
from widgetkit.simulate import Nuisance, Training, clam_experiment, lung_abnormalities
from widgetkit.simulate.agreement import agreement
from widgetkit.simulate.experiments import mean_and_interval
from widgetkit.simulate.fitting import (
    common_lung,
    explained_rows,
    fit,
    maps_of,
)

SMALL = Training(channels=(4, 8), latent=4, epochs=30, batch_size=8)
TINY = {
    "n": 32, "shape": 32, "background": "phantom", "nuisance": Nuisance(1).scaled(0.2),
    "training": SMALL, "explained": 4,
}  # fmt: skip


@pytest.fixture(scope="module")
def two_lungs():
    return clam_experiment(
        "location", k=("below", "at", "above"), repeats=3, methods=("clam", "gradcam", "random", "ceiling"),
        baselines=("black", "mean"), **TINY,
    )  # fmt: skip


def test_two_lungs_are_told_apart(two_lungs) -> None:
    at = two_lungs.clustering.query("asked == 'at'")
    assert at["accuracy"].tolist() == at["ari"].tolist() == at["nmi"].tolist() == [1, 1, 1]
    above = two_lungs.clustering.query("asked == 'above'")
    assert (above["accuracy"] < 1).all() and (above["k"] == 3).all()
    # one cluster less would be a single one, which is no clustering
    assert set(two_lungs.clustering["asked"]) == {"at", "above"}


def test_every_method_has_a_row_for_each_repeat_and_group(two_lungs) -> None:
    table = two_lungs.localisation
    assert len(table) == 3 * 2 * 2 * 4 * 2  # repeats, k, baselines, methods, groups
    assert set(table["group"]) == {"right-upper", "left-upper"} and (table["images"] == 2).all()
    measures = table[["iou", "energy", "pointing", "empty"]]
    assert ((measures >= 0) & (measures <= 1)).all().all()


def test_the_truth_at_the_grid_bounds_what_maps_can_do(two_lungs) -> None:
    means = two_lungs.localisation.groupby("method")[["iou", "energy"]].mean()
    assert means["iou"].idxmax() == "ceiling" and means.loc["random", "iou"] < 0.3


def test_a_summary_has_means_and_intervals_over_repeats(two_lungs) -> None:
    table = two_lungs.summary()
    one = table.query(
        "asked == 'at' and method == 'clam' and baseline == 'mean' and measure == 'iou'"
    )
    assert len(one) == 1
    row = one.iloc[0]
    assert row["low"] <= row["mean"] <= row["high"]
    perfect = table.query("asked == 'at' and measure == 'accuracy'").iloc[0]
    assert perfect["method"] == "" and perfect[["mean", "low", "high"]].tolist() == [1, 1, 1]


def test_same_seed_same_tables() -> None:
    tables = [
        clam_experiment("size", repeats=1, methods=("clam", "random"), seed=seed, **TINY)
        for seed in (0, 0, 1)
    ]
    for name in ("clustering", "localisation"):
        one, two, other = (getattr(table, name) for table in tables)
        pd.testing.assert_frame_equal(one, two)
        assert not one.equals(other)


def test_without_methods_there_are_clusters_only() -> None:
    found = clam_experiment("size", repeats=1, methods=(), **TINY)
    assert len(found.clustering) == 1 and found.localisation.empty
    summary = found.summary()
    assert set(summary["measure"]) == {"accuracy", "ari", "nmi"} and summary["low"].isna().all()


def test_a_method_of_ones_own_and_a_number_of_clusters() -> None:
    found = clam_experiment(
        "size", k=4, repeats=1, methods={"soft": Clam(weights="softmax")}, **TINY
    )
    assert set(found.localisation["method"]) == {"soft"} and found.clustering["k"].tolist() == [4]


def test_volumes() -> None:
    found = clam_experiment(
        "location", repeats=1, methods=("clam", "scorecam", "occlusion"), n=12, dims=3,
        shape=(12, 32, 32), background="phantom", explained=2,
        training=Training(channels=(4, 8), latent=4, epochs=2, batch_size=4),
    )  # fmt: skip
    assert len(found.localisation) == 3 * 2


def test_progress_ends_and_cancelling_stops() -> None:
    said = []
    clam_experiment(
        "size", repeats=1, methods=("random",), progress=lambda *now: said.append(now), **TINY
    )
    assert said[0] == (0, 2) and said[-1] == (2, 2)
    stop = Event()
    stop.set()
    with pytest.raises(Cancelled):
        clam_experiment("size", repeats=1, methods=("random",), cancel=stop, **TINY)


# -- pieces ------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def fitted():
    made = lung_abnormalities(
        16, vary="location", shape=32, background="phantom", nuisance=Nuisance(1).scaled(0.2)
    )
    return fit(made, training=SMALL)


def test_a_moved_network_is_the_network_where_the_origin_is_black(fitted) -> None:
    """Grad-CAM hides nothing, so its maps cannot depend on what stands for hidden pixels."""
    rows = np.arange(4)
    black, mean = (
        maps_of(fitted, rows, "gradcam", baseline=word)  # type: ignore[arg-type]
        for word in ("black", "mean")
    )
    assert_allclose(black, mean, atol=1e-5 * max(1, float(np.abs(black).max())))
    masked = [maps_of(fitted, rows, "clam", baseline=word) for word in ("black", "mean")]
    assert not np.allclose(*masked)


def test_what_is_not_lung_has_their_mean_grey_which_is_0_to_the_network(fitted) -> None:
    inside = common_lung(fitted.simulation, 0.9)
    shown = fitted.simulation.windowed()
    assert_array_equal(fitted.images[:, inside], shown[:, inside])
    grey = np.unique(fitted.images[:, ~inside])
    assert len(grey) == 1 and abs(grey[0] - shown[:, inside].mean()) <= 0.5
    own = fitted.autoencoder.preprocess(np.full((1, 32, 32), grey[0], np.uint8))
    assert abs(float(own.max())) < 0.05
    whole = fit(fitted.simulation, training=Training((4, 8), 4, epochs=1, lung=None))
    assert_array_equal(whole.images, fitted.simulation.windowed())


def test_explained_images_are_of_all_groups_alike() -> None:
    groups = np.array([0, 0, 0, 0, 1, 2, 1, 2, 2], np.int32)
    assert explained_rows(groups, 6).tolist() == [0, 1, 4, 5, 6, 7]
    assert explained_rows(groups, 99).tolist() == list(range(9))


def test_agreement_of_closed_forms() -> None:
    groups = np.repeat([0, 1, 2], 4)
    same = agreement(groups, (groups + 1) % 3)
    assert (same.accuracy, same.ari, same.nmi) == (1, 1, pytest.approx(1))
    one = agreement(groups, np.zeros(12, int))
    assert one.accuracy == pytest.approx(1 / 3) and one.ari == 0 and one.nmi == 0
    split = agreement(groups, np.array([0, 0, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3]))
    assert split.accuracy == pytest.approx(10 / 12)
    for bad, error in (((groups, groups[:3]), InvalidInput), (([], []), TooFew)):
        with pytest.raises(error):
            agreement(*bad)


def test_interval_of_equal_repeats_is_a_point() -> None:
    assert mean_and_interval([0.5] * 5) == (0.5, 0.5, 0.5)
    mean, low, high = mean_and_interval([0.2, 0.4, 0.6, 0.8])
    assert mean == pytest.approx(0.5) and 0.2 <= low < 0.5 < high <= 0.8
    assert np.isnan(mean_and_interval([0.1, 0.2])[1])


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"vary": "colour"}, UnknownName, "colour"),
        ({"k": "over"}, UnknownName, "above"),
        ({"k": 1}, InvalidInput, "k"),
        ({"k": ()}, InvalidInput, "empty"),
        ({"repeats": 0}, InvalidInput, "repeats"),
        ({"explained": 0}, InvalidInput, "explained"),
        ({"methods": ("clamp",)}, UnknownName, "clam"),
        ({"methods": "clam"}, InvalidInput, "sequence"),
        ({"methods": ("selection",)}, InvalidInput, "no maps"),
        ({"baselines": "mean"}, InvalidInput, "sequence"),
        ({"baselines": ("grey",)}, InvalidInput, "black"),
        ({"training": Training(lung=0.0)}, InvalidInput, "share"),
        ({"noise": -1}, InvalidInput, "noise"),
        ({"seed": -1}, InvalidInput, "seed"),
    ],
)
def test_bad_input(change, error, message) -> None:
    options = {"vary": "size", "repeats": 1, **TINY, **change}
    with pytest.raises(error, match=message):
        clam_experiment(**options)
