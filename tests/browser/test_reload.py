"""A page that is loaded again shows what the old one showed, not how the views began."""

from __future__ import annotations

import numpy as np

from tests.browser.explorer import ExplorerPage
from tests.browser.views import drag


def test_everything_survives_a_reload(ex: ExplorerPage) -> None:
    begun = ex.bars()
    with ex.gesture():
        ex.scatter.lasso(ex.scatter.oval(0.3, 0.5, 0.22, 0.35))
    ex.until_bars_are_not(begun)
    ex.scatter.root.get_by_label("Colour by").select_option("label")
    ex.maps.root.get_by_label("method").select_option("channel")
    ex.maps.root.get_by_label("opacity").fill("0.3")
    ex.thumb(0).click()
    ex.notebook.wait_value("ex.session.map_spec.method", "channel")
    ex.notebook.wait_value("ex.maps.opacity", 0.3)
    ex.notebook.wait_value("len(ex.gallery.picked)", 1)
    ex.notebook.wait_value("ex.scatter.color_by", "label")
    ex.notebook.python("ex.session.rename_cluster(0, 'renamed')")
    # the camera: moved by a drag with the middle button
    left, top, width, height = ex.scatter.box()
    ex.page.mouse.move(left + width / 2, top + height / 2)
    ex.page.mouse.down(button="middle")
    ex.page.mouse.move(left + width / 2 + 40, top + height / 2 + 20, steps=4)
    ex.page.mouse.up(button="middle")
    ex.notebook.wait_value("len(ex.scatter._camera)", 3)
    ex.settled()

    def seen() -> dict[str, object]:
        return {
            "count": ex.scatter.count_text(),
            "legend": ex.legend(),
            "tiles": sorted(ex.gallery_rows()),
            "picked": ex.gallery.root.locator("[aria-selected=true]").count(),
            "bars": ex.bars(),
            "chart legend": ex.chart.locator(".legendtext").all_text_contents(),
            "chart": ex.chart.locator(".yaxislayer-above").text_content(),
            "method": ex.maps.root.get_by_label("method").input_value(),
            "opacity": ex.maps.root.get_by_label("opacity").input_value(),
            "scale": ex.maps.root.locator(".wk-bar-numbers").inner_text(),
            "summary": ex.summary_text(),
            "camera": ex.notebook.value("ex.scatter._camera"),
        }

    before = seen()
    assert "renamed" in str(before["chart"])
    assert before["chart legend"] == ["selection", "rest"]
    ex.notebook.save()
    ex.notebook.reload()
    for view in (ex.scatter, ex.gallery, ex.maps):
        view.drawn()
    ex.chart.wait_for()
    ex.settled()
    assert seen() == before

    # and it still works: the same session, the same views, another gesture
    places = len(ex.selected())
    left, top, width, height = ex.scatter.box()
    corners = np.array([[0.02, 0.02], [0.98, 0.02], [0.98, 0.98], [0.02, 0.98], [0.02, 0.03]])
    with ex.gesture():
        drag(ex.page, [left, top] + corners * [width, height])
    assert len(ex.selected()) > places
    assert ex.errors() == []
