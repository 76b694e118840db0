"""Figures: every kind for every store, exact size, live text, same bytes, nobody's name."""

from __future__ import annotations

import io
import re
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure
from PIL import Image

from tests.figures.conftest import FILE, PATIENT
from tests.stores import HOSTILE
from widgetkit import figures
from widgetkit.errors import InvalidInput, NeedsActivations, UnknownName
from widgetkit.figures import FigureSpec, panels, tiles
from widgetkit.session import MapSpec, Session

KINDS = ("scatter", "gallery", "maps", "clusters", "summary", "explorer")
STORES = ("normal", "private", "empty", "one", "two", "features", "grey", "volume", "signed")
SessionOf = Callable[[str], Session]


def draw(kind: str, session: Session, spec: FigureSpec | None = None, **options: object) -> Figure:
    made: Figure = getattr(figures, kind)(session, spec, **options)
    return made


def pdf_text(data: bytes) -> bytes:
    """A PDF with its compressed streams opened."""
    opened = [data]
    for found in re.finditer(rb"stream\r?\n(.*?)endstream", data, re.S):
        try:
            opened.append(zlib.decompress(found[1]))
        except zlib.error:
            continue
    return b"\n".join(opened)


def words(data: bytes) -> bytes:
    """What a PDF, SVG or PNG says: all of it but pixels, where three letters come about by chance."""
    if data.startswith(b"\x89PNG"):
        with Image.open(io.BytesIO(data)) as picture:
            return repr(picture.info).encode()
    if not data.startswith(b"%PDF"):
        return re.sub(rb"base64,[A-Za-z0-9+/=\s]*", b"", data)
    stream = re.compile(rb"stream\r?\n(.*?)endstream", re.S)
    found = [stream.sub(b"", data)]
    for part in re.finditer(rb"<<((?:(?!endobj).)*?)>>\s*stream\r?\n(.*?)endstream", data, re.S):
        if b"/Image" not in part[1]:
            try:
                found.append(zlib.decompress(part[2]))
            except zlib.error:
                found.append(part[2])
    return b"\n".join(found)


def test_words_are_what_is_written_in_a_file(session_of: SessionOf, tmp_path: Path) -> None:
    """What holds names back is worth nothing where the text is not read."""
    session = session_of("normal")
    for suffix in (".svg", ".pdf", ".png"):
        figure = draw("maps", session)
        path = figures.save(figure, tmp_path / f"a{suffix}", caption="Somebody, DOE^JANE")
        assert b"DOE^JANE" in words(path.read_bytes())


@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_every_store_is_drawn_or_says_why_not(
    kind: str, store: str, session_of: SessionOf, tmp_path: Path
) -> None:
    session = session_of(store)
    spec = FigureSpec(width_mm=120, dpi=60)
    for rows in ([], [0]):
        if rows and not len(session.store):
            continue
        session.select(np.asarray(rows, dtype=int))
        if kind == "maps" and store == "features":
            with pytest.raises(NeedsActivations, match="maps"):
                draw(kind, session, spec)
            continue
        path = figures.save(
            draw(kind, session, spec),
            tmp_path / "figure.png",
            spec=spec,
            caption=figures.caption(session, kind),  # type: ignore[arg-type]
        )
        with Image.open(path) as picture:
            assert picture.width == round(120 / 25.4 * 60)
            assert np.asarray(picture.convert("L")).std() > 0 or store == "empty"


@settings(deadline=None, max_examples=15)
@given(width=st.floats(30, 300), height=st.floats(30, 300), dpi=st.sampled_from([50, 72, 96, 150]))
def test_a_file_has_the_stated_millimetres(
    tmp_path_factory: pytest.TempPathFactory, width: float, height: float, dpi: float
) -> None:
    spec = FigureSpec(width_mm=width, height_mm=height, dpi=dpi)
    figure = Figure(figsize=spec.inches)
    folder = tmp_path_factory.mktemp("size")
    with Image.open(figures.save(figure, folder / "a.png", spec=spec)) as picture:
        assert picture.width == pytest.approx(width / 25.4 * dpi, abs=1)
        assert picture.height == pytest.approx(height / 25.4 * dpi, abs=1)
        assert picture.info["dpi"] == pytest.approx((dpi, dpi), rel=0.01)
    svg = figures.save(figure, folder / "a.svg", spec=spec).read_text()
    found = re.search(r'<svg[^>]*?width="([\d.]+)pt"[^>]*?>', svg) or pytest.fail("no width")
    assert float(found[1]) == pytest.approx(width / 25.4 * 72, abs=0.01)
    pdf = figures.save(figure, folder / "a.pdf", spec=spec).read_bytes()
    box = re.search(rb"/MediaBox \[ *([\d. ]+) *\]", pdf) or pytest.fail("no box")
    assert [float(v) for v in box[1].split()] == pytest.approx(
        [0, 0, width / 25.4 * 72, height / 25.4 * 72], abs=0.01
    )


@pytest.mark.parametrize("kind", KINDS)
def test_text_stays_text(kind: str, session_of: SessionOf, tmp_path: Path) -> None:
    session = session_of("normal")
    session.select_cluster(0)
    figure = draw(kind, session, FigureSpec(width_mm=180))
    svg = figures.save(figure, tmp_path / "a.svg", spec=FigureSpec(dpi=60)).read_text()
    words = {"scatter": "UMAP 1", "gallery": "µm", "maps": "µm", "clusters": "cluster 1",
             "summary": "tiles selected", "explorer": "share of tiles"}[kind]  # fmt: skip
    assert any(words in text for text in re.findall(r"<text[^>]*>([^<]*)</text>", svg))
    pdf = figures.save(figure, tmp_path / "a.pdf", spec=FigureSpec(dpi=60)).read_bytes()
    opened = pdf_text(pdf)
    assert b"/Type3" not in opened
    assert b"/Type42" in opened or b"/TrueType" in opened or b"/CIDFontType2" in opened


def test_hostile_names_are_text_in_every_format(session_of: SessionOf, tmp_path: Path) -> None:
    session = session_of("normal")
    session.rename_cluster(0, "$x_2$ <b>&\\frac")
    for color_by in ("label", "cluster"):
        figure = draw("scatter", session, color_by=color_by)
        svg = figures.save(figure, tmp_path / "a.svg", caption=HOSTILE).read_text()
        assert HOSTILE not in svg
        for suffix in (".pdf", ".png"):
            figures.save(figure, tmp_path / f"a{suffix}", caption=HOSTILE)
    assert "$x_2$ &lt;b&gt;&amp;\\frac" in svg


def test_names_that_begin_with_an_underscore_are_in_the_legend(session_of: SessionOf) -> None:
    session = session_of("normal")
    session.rename_cluster(0, "_hidden")
    legend = draw("scatter", session).axes[0].get_legend()
    assert legend is not None
    assert any("_hidden" in text.get_text() for text in legend.get_texts())


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
@pytest.mark.parametrize("kind", ["scatter", "maps", "explorer"])
def test_the_same_session_gives_the_same_bytes(
    kind: str, suffix: str, session_of: SessionOf, tmp_path: Path
) -> None:
    spec = FigureSpec(width_mm=120, dpi=60)
    saved = []
    for name in ("a", "b"):
        session = session_of("normal")
        session.select_cluster(0)
        path = tmp_path / f"{name}{suffix}"
        figures.save(draw(kind, session, spec), path, spec=spec, caption="one caption")
        saved.append(path.read_bytes())
    assert saved[0] == saved[1]


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_a_failed_save_leaves_the_old_file_and_nothing_else(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / f"figure{suffix}"
    target.write_bytes(b"the old one")
    figure = Figure(figsize=(1, 1))

    class Full(OSError):
        pass

    def interrupted(path: str, **_: object) -> None:
        Path(path).write_bytes(b"half")
        raise Full("no space left")

    monkeypatch.setattr(figure, "savefig", interrupted)
    with pytest.raises(Full):
        figures.save(figure, target)
    assert [p.name for p in tmp_path.iterdir()] == [target.name]
    assert target.read_bytes() == b"the old one"


def test_a_saved_file_is_readable_like_any_other(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.touch()
    saved = figures.save(Figure(figsize=(1, 1)), tmp_path / "a.png")
    assert saved.stat().st_mode == plain.stat().st_mode


def test_wrong_paths_and_sizes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"\.svg"):
        figures.save(Figure(), tmp_path / "a.bmp")
    with pytest.raises(InvalidInput, match="does not exist"):
        figures.save(Figure(), tmp_path / "none" / "a.png")
    for bad in ({"width_mm": 3}, {"height_mm": float("nan")}, {"dpi": 1e6}, {"width_mm": "90"}):
        with pytest.raises(InvalidInput, match=next(iter(bad))):
            FigureSpec(**bad)  # type: ignore[arg-type]
    with pytest.raises(UnknownName, match="nature-page"):
        FigureSpec.preset("nature-pag")
    assert FigureSpec.preset("nature-page", dpi=100).width_mm == 183


def test_many_points_are_rasterised_and_few_are_not(
    session_of: SessionOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = session_of("normal")
    few = figures.save(draw("scatter", session), tmp_path / "few.svg").read_text()
    assert "<image" not in few and few.count("<use") >= len(session.store)
    monkeypatch.setattr(panels, "RASTER_ABOVE", 10)
    many = figures.save(draw("scatter", session), tmp_path / "many.svg").read_text()
    assert "<image" in many and many.count("<use") < len(session.store)
    assert "UMAP 1" in many  # the words stay words


@pytest.mark.parametrize("kind", KINDS)
def test_no_patient_and_no_file_is_named(kind: str, session_of: SessionOf, tmp_path: Path) -> None:
    session = session_of("private")
    session.select_where("source", FILE)
    session.set_focus(0)
    caption = figures.caption(session, kind)  # type: ignore[arg-type]
    options = [{}]
    if kind in ("scatter", "explorer"):
        options = [{"color_by": name} for name in ("patient", "source", "id")]
    for option in options:
        figure = draw(kind, session, **option)
        for suffix in (".svg", ".pdf", ".png"):
            path = figures.save(figure, tmp_path / f"a{suffix}", caption=caption)
            opened = words(path.read_bytes())
            for secret in (PATIENT, FILE, "DOE"):
                assert secret.encode() not in opened
    for secret in (PATIENT, FILE, "DOE", str(session.store.path)):
        assert secret not in caption


def test_the_caption_is_in_the_file(session_of: SessionOf, tmp_path: Path) -> None:
    session = session_of("normal")
    figure, caption = draw("scatter", session), figures.caption(session, "scatter")
    assert "60 tiles from 3 sources" in caption and "seed 0" in caption
    with Image.open(figures.save(figure, tmp_path / "a.png", caption=caption)) as picture:
        assert picture.info["Description"] == caption
    assert caption in figures.save(figure, tmp_path / "a.svg", caption=caption).read_text()
    pdf = figures.save(figure, tmp_path / "a.pdf", caption=caption).read_bytes()
    assert b"/Subject" in pdf and b"CreationDate" not in pdf


# -- scale bar and colour bar ------------------------------------------------------------
@settings(deadline=None, max_examples=25)
@given(
    mpp=st.floats(1e-3, 1e3),
    width=st.integers(8, 600),
    height=st.integers(8, 600),
)
def test_the_scale_bar_is_as_long_as_it_says(mpp: float, width: int, height: int) -> None:
    axes = Figure().add_axes((0, 0, 1, 1))
    image = np.zeros((height, width, 3), np.uint8)
    tiles.show_tile(axes, image)
    tiles.scale_bar(axes, image, mpp)
    (bar,) = (line for line in axes.lines if line.get_gid() == "scale-bar")
    pixels = np.ptp(np.asarray(bar.get_xdata(), dtype=float))
    number, unit = axes.texts[0].get_text().split()
    micrometres = float(number) * (1000 if unit == "mm" else 1)
    assert pixels * mpp == pytest.approx(micrometres, rel=1e-6)
    assert 0.15 * width <= pixels <= 0.4 * width * (1 + 1e-6)
    assert axes.get_xlim() == (-0.5, width - 0.5)


@given(st.floats(1e-6, 1e9))
@settings(deadline=None, max_examples=200)
def test_a_round_length_is_round_and_the_largest(most: float) -> None:
    length = tiles.round_length(most)
    assert length <= most * (1 + 1e-6) < 2.5 * length * (1 + 1e-6)
    assert float(f"{length:.6g}".replace("0", "").replace(".", "")[:1]) in (1, 2, 5)


@pytest.mark.parametrize("mpp", [float("nan"), 0.0, -1.0, float("inf")])
def test_without_a_pixel_size_there_is_no_scale_bar(mpp: float) -> None:
    axes = Figure().add_axes((0, 0, 1, 1))
    tiles.scale_bar(axes, np.zeros((8, 8, 3), np.uint8), mpp)
    assert not axes.lines and not axes.texts


def test_signed_maps_share_one_symmetric_scale(session_of: SessionOf) -> None:
    session = session_of("signed")
    session.select_cluster(0)
    result = session.maps([0, 1], MapSpec("selection"))
    assert result.signed
    norm = tiles.map_norm(result)
    assert norm.vmin == -norm.vmax and norm(0.0) == 0.5
    figure = draw("maps", session, map_spec=MapSpec("selection"))
    bars = [axes for axes in figure.axes if axes.get_ylabel().split() == result.title.split()]
    assert len(bars) == 1
    low, high = bars[0].get_ylim()
    assert low == -high


@settings(deadline=None, max_examples=40)
@given(
    count=st.integers(1, 80),
    width=st.floats(20, 250),
    height=st.one_of(st.none(), st.floats(20, 250)),
    across=st.integers(1, 2),
)
def test_tiles_are_square_do_not_touch_and_stay_inside(
    count: int, width: float, height: float | None, across: int
) -> None:
    grid = tiles.grid(count, width, height, across=across)
    unit = across * grid.cell_mm + (across - 1) * tiles.PAIR_MM
    spots = np.array(grid.spots)
    assert len(spots) == count and len(np.unique(spots.round(6), axis=0)) == count
    if grid.cell_mm <= 0.1:
        return  # no room for so many
    assert (spots >= 0).all()
    assert spots[:, 0].max() + unit <= width + 1e-6
    if height is not None:
        assert spots[:, 1].max() + grid.cell_mm <= height + 1e-6
    for axis, step in ((0, unit), (1, grid.cell_mm)):
        places = np.unique(spots[:, axis].round(6))
        assert (np.diff(places) >= step + tiles.GAP_MM - 1e-5).all()


def test_tiles_on_the_page_are_square(session_of: SessionOf) -> None:
    session = session_of("normal")
    for kind in ("gallery", "maps", "explorer"):
        figure = draw(kind, session, FigureSpec(width_mm=150, height_mm=90))
        for axes in figure.findobj(lambda artist: hasattr(artist, "images") and artist.images):
            box = axes.get_window_extent()
            assert box.width == pytest.approx(box.height, rel=1e-6)


def test_the_composition_compares_only_where_there_is_a_selection(session_of: SessionOf) -> None:
    session = session_of("normal")
    (axes,) = draw("clusters", session).axes
    assert axes.get_legend() is None and len(axes.patches) == len(session.composition())
    session.select_cluster(0)
    (axes,) = draw("clusters", session).axes
    assert axes.get_legend() is not None
    assert len(axes.patches) == 2 * len(session.composition())


def test_numbers_keep_their_colours_whatever_is_selected(session_of: SessionOf) -> None:
    session = session_of("normal")
    scales = []
    for rows in ([], [1, 2, 3]):
        session.select(np.asarray(rows, dtype=int))
        figure = draw("scatter", session, color_by="age")
        scales.append(next(c.get_clim() for c in figure.axes[0].collections if c.colorbar))
    assert scales[0] == scales[1] == (20.0, 79.0)
    with pytest.raises(UnknownName, match="age"):
        draw("scatter", session, color_by="agee")


def test_rows_that_are_not_there_are_refused(session_of: SessionOf) -> None:
    for rows in ([60], [-1], [[1]]):
        with pytest.raises(InvalidInput, match="0 to 59"):
            figures.gallery(session_of("normal"), rows=rows)  # type: ignore[arg-type]
