"""Every view and panel saves its figure with its caption, by the one mixin."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from widgetkit.errors import InvalidInput
from widgetkit.session import Session
from widgetkit.widgets import (
    ClusterPanel,
    Gallery,
    MapViewer,
    PlotlyScatter,
    Scatter,
    SelectionSummary,
)
from widgetkit.widgets.drawn import Drawn

VIEWS = (ClusterPanel, Gallery, MapViewer, PlotlyScatter, Scatter, SelectionSummary)


@pytest.mark.parametrize("view", VIEWS)
def test_a_view_is_drawn_and_saved_in_every_format(
    view: type[Drawn], session: Session, tmp_path: Path
) -> None:
    made = view(session)  # type: ignore[call-arg]
    session.select_cluster(0)
    figure = made.figure(width_mm=100)
    assert figure.get_size_inches()[0] == pytest.approx(100 / 25.4)
    assert figure.get_size_inches()[1] > 0.39
    for suffix in ("png", "svg", "pdf"):
        path = made.save(tmp_path / f"a.{suffix}", width_mm=80, height_mm=60, dpi=50)
        assert path == tmp_path / f"a.{suffix}" and path.stat().st_size > 500
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.size == (round(80 / 25.4 * 50), round(60 / 25.4 * 50))
        assert picture.info["Description"] == made.caption()
    assert f"Selected: {session.selection.count} tiles" in made.caption()
    with pytest.raises(InvalidInput, match=r"\.pdf"):
        made.save(tmp_path / "a.gif")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.pdf", "a.png", "a.svg"]
