"""Charts: private, small on the wire, escaped, the same after a reload."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.widgets.transport import Wire
from widgetkit.testing import plotly as gestures
from widgetkit.widgets import charts


@settings(deadline=None, max_examples=100)
@given(st.text())
def test_escaped_text_has_nothing_that_plotly_or_mathjax_reads(text: str) -> None:
    escaped = charts.text(text)
    assert not set(escaped) & set("<>$")
    for entity in re.findall("&[^&]{0,6}", escaped):
        assert entity.startswith(("&lt;", "&gt;", "&amp;", "&#36;"))
    back = escaped.replace("&lt;", "<").replace("&gt;", ">").replace("&#36;", "$")
    assert back.replace("&amp;", "&") == text


@pytest.mark.parametrize("dtype", ["int64", "uint64", "float64", "bool", "int8", "float16"])
def test_arrays_cross_as_32_bit(dtype: str) -> None:
    assert charts.array(np.ones(3, dtype)).dtype in (np.int32, np.float32)


def test_no_button_sends_the_data_away() -> None:
    figure = charts.figure_widget([go.Bar(x=charts.array([1]))], charts.layout())
    config = gestures.synced(figure)["config"]
    assert config["showSendToCloud"] is False and config["sendData"] is False
    assert config["plotlyServerURL"] == ""
    assert figure.get_state()["_config"]["showSendToCloud"] is False


def test_what_changed_is_there_after_a_reload() -> None:
    figure = charts.figure_widget([go.Bar(x=charts.array([1]))], charts.layout(height=100))
    figure.data[0].x = charts.array([1, 2, 3])
    figure.layout.height = 300
    assert gestures.synced(figure)["layout"]["height"] == 100  # plotly's own: the first state
    charts.settle(figure)
    state = gestures.synced(figure)
    assert state["layout"]["height"] == 300
    assert list(state["data"][0]["x"]) == [1, 2, 3]


def test_arrays_of_a_chart_are_buffers_not_json() -> None:
    figure = charts.figure_widget([go.Scatter(x=charts.array(np.zeros(5000)))], charts.layout())
    wire = Wire(figure)
    figure.data[0].x = charts.array(np.arange(5000))
    charts.settle(figure)
    assert wire.size < 2 * 4 * 5000 + 2000


def test_charts_show_on_light_and_dark_pages() -> None:
    layout = charts.layout(xaxis=charts.axis(title="x"))
    assert layout["paper_bgcolor"] == layout["plot_bgcolor"] == "rgba(0,0,0,0)"
    ink = _luminance(charts.INK)
    for page in ("#ffffff", "#111111"):
        ground = _luminance(page)
        light, dark = max(ink, ground), min(ink, ground)
        assert (light + 0.05) / (dark + 0.05) > 4
    assert layout["xaxis"]["gridcolor"] == charts.LINES


def _luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))


def test_the_first_message_of_a_chart_already_forbids_sending(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The page reads the configuration once, when it draws: a second message may come too late."""
    from ipywidgets.widgets import widget

    opened: list[dict[str, Any]] = []
    create = widget.comm.create_comm

    def recorded(*arguments: Any, **options: Any) -> Any:
        opened.append((options.get("data") or {}).get("state", {}))
        return create(*arguments, **options)

    monkeypatch.setattr(widget.comm, "create_comm", recorded)
    figure = charts.figure_widget([go.Bar(x=charts.array([1]))], charts.layout())
    states = [state["_config"] for state in opened if "_config" in state]
    assert states == [charts.CONFIG]
    figure._config = {"showSendToCloud": True, "plotlyServerURL": "https://example.org"}
    assert figure._config == charts.CONFIG
    figure.data[0].x = charts.array([1, 2])
    charts.settle(figure)
    assert gestures.synced(figure)["config"] == charts.CONFIG
    assert isinstance(figure, go.FigureWidget)
    figure.close()
