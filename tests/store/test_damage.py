"""Whatever happens to the files of a store, it is found and the file is named."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import widgetkit.store
from tests.store.builders import MAPS, VECTORS, Content
from widgetkit.errors import StoreCorrupt, StoreTooNew, WidgetkitError
from widgetkit.store import ActivationStore, jsonio
from widgetkit.store.jsonio import canonical


@pytest.fixture(scope="module", params=["raw", "jpeg"])
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = Content(encoding=request.param).write(tmp_path_factory.mktemp("whole") / "a.wk")
    store.derived.put("projection", "pca", {"xy": np.zeros((11, 2), np.float32)}, params={"k": 2})
    return store.path


def files_of(path: Path) -> list[Path]:
    return sorted(file for file in path.rglob("*") if file.is_file())


def read_everything(path: Path) -> None:
    store = widgetkit.store.open(path)
    for layer, info in store.layers.items():
        store.embeddings(layer)
        store.head(layer)
        if info.has_maps:
            store.activations(layer)
            store.sample_positions(layer, 7, 0)
    if store.has_images:
        store.images()
        store.thumbnails([0], 16)
        for page in range(store.sprites.pages):
            store.sprite_page(page)
    _ = store.outputs, store.tiles, store.derived.find("projection", {})
    for kind in store.derived.kinds():
        for name in store.derived.names(kind):
            dict(store.derived.get(kind, name).arrays)


def read_or_refuse(path: Path) -> None:
    """Everything but an error of ours, or a warning of one, passes through."""
    with warnings.catch_warnings(), suppress(WidgetkitError):
        warnings.simplefilter("ignore", UserWarning)
        read_everything(path)


class Changed:
    """One file changed for the length of a ``with``."""

    def __init__(self, file: Path, data: bytes | None) -> None:
        self._file, self._data = file, data

    def __enter__(self) -> None:
        self._kept = self._file.read_bytes()
        if self._data is None:
            self._file.unlink()
        else:
            self._file.write_bytes(self._data)

    def __exit__(self, *_: object) -> None:
        self._file.write_bytes(self._kept)


def problems(path: Path) -> str:
    """What opening or verifying says; empty for a sound store."""
    try:
        return "; ".join(widgetkit.store.open(path).verify().problems)
    except WidgetkitError as error:
        return str(error)


@settings(deadline=None, max_examples=120)
@given(data=st.data())
def test_any_flipped_byte_is_found_by_verify(whole: Path, data: st.DataObject) -> None:
    file = data.draw(st.sampled_from(files_of(whole)))
    content = bytearray(file.read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] ^= data.draw(st.integers(1, 255))
    if file.name == "entry.json" and json_equal(bytes(content), file.read_bytes()):
        return  # white space of an entry says nothing
    with Changed(file, bytes(content)):
        assert file.name in problems(whole)
    assert problems(whole) == ""


def json_equal(a: bytes, b: bytes) -> bool:
    try:
        return bool(json.loads(a) == json.loads(b))
    except ValueError:
        return False


@settings(deadline=None, max_examples=80)
@given(data=st.data())
def test_any_truncation_is_found_on_opening(whole: Path, data: st.DataObject) -> None:
    file = data.draw(st.sampled_from([f for f in files_of(whole) if "derived" not in f.parts]))
    content = file.read_bytes()
    shorter = content[: data.draw(st.integers(0, len(content) - 1))]
    words = file.name.replace(".", r"\.")
    with Changed(file, shorter), pytest.raises(StoreCorrupt, match=words):
        widgetkit.store.open(whole)


def test_any_missing_file_is_found_on_opening(whole: Path) -> None:
    for file in files_of(whole):
        if "derived" in file.parts or file.name == "manifest.json":
            continue
        with Changed(file, None), pytest.raises(StoreCorrupt, match=file.name.replace(".", r"\.")):
            widgetkit.store.open(whole)


@settings(deadline=None, max_examples=80)
@given(data=st.data())
def test_flipped_bytes_never_surprise_a_reader(whole: Path, data: st.DataObject) -> None:
    """Reading a damaged store gives numbers or one of our errors, never anything else."""
    file = data.draw(st.sampled_from(files_of(whole)))
    content = bytearray(file.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, min(len(content) - 1, 300)))] = data.draw(
            st.integers(0, 255)
        )
    with Changed(file, bytes(content)):
        read_or_refuse(whole)


def test_a_file_that_shrinks_after_opening(whole: Path) -> None:
    store = widgetkit.store.open(whole)
    file = next((whole / "activations").rglob("00001.npy"))
    with Changed(file, file.read_bytes()[:-7]), pytest.raises(StoreCorrupt, match=r"00001\.npy"):
        store.activations(MAPS)
    store.activations(MAPS)  # known to be good now, its header is not looked at again
    with Changed(file, file.read_bytes()[:200]), pytest.raises(StoreCorrupt, match=r"00001\.npy"):
        store.activations(MAPS)
    with Changed(file, None), pytest.raises(StoreCorrupt, match=r"00001\.npy"):
        store.activations(MAPS)


class TestLinks:
    def test_a_link_out_of_the_folder_is_refused(self, whole: Path, tmp_path: Path) -> None:
        path = tmp_path / "a.wk"
        shutil.copytree(whole, path)
        shutil.move(path / "embeddings/pool.npy", tmp_path / "pool.npy")
        (path / "embeddings/pool.npy").symlink_to(tmp_path / "pool.npy")
        with pytest.raises(StoreCorrupt, match=r"pool\.npy leads outside"):
            widgetkit.store.open(path)

    def test_a_linked_folder_is_refused(self, whole: Path, tmp_path: Path) -> None:
        path = tmp_path / "a.wk"
        shutil.copytree(whole, path)
        shutil.move(path / "embeddings", tmp_path / "embeddings")
        (path / "embeddings").symlink_to(tmp_path / "embeddings")
        with pytest.raises(StoreCorrupt, match="leads outside"):
            widgetkit.store.open(path)

    def test_a_link_within_the_folder_and_to_it_are_fine(self, whole: Path, tmp_path: Path) -> None:
        path = tmp_path / "a.wk"
        shutil.copytree(whole, path)
        shutil.move(path / "embeddings/pool.npy", path / "elsewhere")
        (path / "embeddings/pool.npy").symlink_to("../elsewhere")
        (tmp_path / "link.wk").symlink_to(path)
        assert widgetkit.store.open(tmp_path / "link.wk").verify().ok

    def test_a_pipe_does_not_hang_the_reader(self, whole: Path, tmp_path: Path) -> None:
        path = tmp_path / "a.wk"
        shutil.copytree(whole, path)
        (path / "embeddings/pool.npy").unlink()
        os.mkfifo(path / "embeddings/pool.npy")
        with pytest.raises(StoreCorrupt, match="regular"):
            widgetkit.store.open(path)

    def test_derived_results_may_not_be_linked_out(self, whole: Path, tmp_path: Path) -> None:
        path = tmp_path / "a.wk"
        shutil.copytree(whole, path)
        shutil.move(path / "derived", tmp_path / "derived")
        (path / "derived").symlink_to(tmp_path / "derived")
        with pytest.raises(StoreCorrupt, match="outside"):
            widgetkit.store.open(path).derived.get("projection", "pca")
        with pytest.raises(StoreCorrupt, match="outside"):
            widgetkit.store.open(path).derived.put("x", "y", {}, params={})


# -- a manifest made by somebody else --------------------------------------------------------------
def signed(value: dict[str, Any]) -> bytes:
    """The manifest with a checksum that fits, as an attacker would write it."""
    return canonical(jsonio.signed({k: v for k, v in value.items() if k != "checksum"}))


Change = Callable[[dict[str, Any]], None]


def set_(*path: Any) -> Change:
    *way, key, value = path

    def change(manifest: dict[str, Any]) -> None:
        target: Any = manifest
        for step in way:
            target = target[step]
        target[key] = value

    return change


def rename(new: str) -> Change:
    def change(manifest: dict[str, Any]) -> None:
        manifest["files"][new] = manifest["files"].pop("embeddings/pool.npy")

    return change


HOSTILE: dict[str, Change] = {
    "absurd n": set_("n", 2**60),
    "n of a billion": set_("n", 10**9),
    "negative n": set_("n", -1),
    "n is true": set_("n", True),
    "n is a float": set_("n", 11.0),
    "n is text": set_("n", "11"),
    "no rows a segment": set_("segment_rows", 0),
    "one row a segment": set_("segment_rows", 1),
    "absurd channels": set_("layers", 0, "channels", 2**19),
    "negative channels": set_("layers", 0, "channels", -5),
    "absurd grid": set_("layers", 0, "grid", [4096, 4096, 4096]),
    "grid of nothing": set_("layers", 0, "grid", [0, 2]),
    "grid of text": set_("layers", 0, "grid", ["3", "2"]),
    "grid too deep": set_("layers", 0, "grid", [1, 1, 1, 3, 2]),
    "a slug that climbs": set_("layers", 0, "slug", "../../etc"),
    "another slug": set_("layers", 0, "slug", "pool"),
    "no layers": set_("layers", []),
    "layers are text": set_("layers", "abc"),
    "unknown default layer": set_("default_layer", "x"),
    "absurd pictures": set_("images", "shape", [65536, 65536, 3]),
    "pictures of nothing": set_("images", "shape", []),
    "unknown encoding": set_("images", "encoding", "pickle"),
    "absurd outputs": set_("outputs", 2**20),
    "absurd pages": set_("sprites", "pages", 10**12),
    "a page type for a web page": set_("sprites", "mime", "text/html"),
    "a page of nothing": set_("sprites", "per_page", 0),
    "class names do not fit": set_("class_names", ["a"]),
    "class names are numbers": set_("class_names", [1, 2]),
    "a head of no layer": set_("heads", ["x"]),
    "a head without files": set_("heads", [MAPS, VECTORS]),
    "a path upwards": rename("../pool.npy"),
    "a path upwards inside": rename("embeddings/../../pool.npy"),
    "an absolute path": rename("/etc/passwd"),
    "a path with a drive": rename("C:/x"),
    "a backslash": rename("embeddings\\pool.npy"),
    "an empty path": rename(""),
    "a path with a nul": rename("embeddings/\0"),
    "a negative size": set_("files", "embeddings/pool.npy", [-1, "0" * 64]),
    "an absurd size": set_("files", "embeddings/pool.npy", [2**62, "0" * 64]),
    "a size that is true": set_("files", "embeddings/pool.npy", [True, "0" * 64]),
    "a file without checksum": set_("files", "embeddings/pool.npy", [260]),
    "files are a list": set_("files", []),
    "model is a list": set_("model", []),
    "an unknown field": set_("extra", 1),
    "another format": set_("format", "zip"),
    "a version that is text": set_("version", "1"),
    "version nought": set_("version", 0),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_manifests_are_refused(whole: Path, name: str) -> None:
    value = json.loads((whole / "manifest.json").read_bytes())
    HOSTILE[name](value)
    with Changed(whole / "manifest.json", signed(value)), pytest.raises(StoreCorrupt):
        widgetkit.store.open(whole)


@pytest.mark.parametrize(
    "data",
    [
        b"", b"{}", b"[]", b"null", b"\xff\xfe", b"[" * 100_000, b'{"a":' * 100_000,
        b'{"format": 1, "format": 2}', b'{"n": NaN}', b'{"n": ' + b"9" * 10_000 + b"}",
    ],
)  # fmt: skip
def test_manifests_that_are_none(whole: Path, data: bytes) -> None:
    with (
        Changed(whole / "manifest.json", data),
        pytest.raises(StoreCorrupt, match=r"manifest\.json"),
    ):
        widgetkit.store.open(whole)


def test_a_missing_field_is_named(whole: Path) -> None:
    value = json.loads((whole / "manifest.json").read_bytes())
    for key in value:
        if key != "checksum":
            rest = {name: item for name, item in value.items() if name != key}
            with (
                Changed(whole / "manifest.json", signed(rest)),
                pytest.raises(StoreCorrupt, match=key),
            ):
                widgetkit.store.open(whole)


def test_a_newer_store_says_update(whole: Path) -> None:
    value = json.loads((whole / "manifest.json").read_bytes()) | {"version": 2, "news": []}
    with (
        Changed(whole / "manifest.json", signed(value)),
        pytest.raises(StoreTooNew, match="pip install -U"),
    ):
        widgetkit.store.open(whole)


JUNK = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=5), st.lists(st.integers(-5, 2**20), max_size=4), st.just({}), st.just("../x"),
)  # fmt: skip


@settings(deadline=None, max_examples=150)
@given(data=st.data())
def test_no_manifest_gets_more_than_a_store_error(whole: Path, data: st.DataObject) -> None:
    """One value anywhere replaced by anything, signed: refused, or read without any other error."""
    value = json.loads((whole / "manifest.json").read_bytes())
    changed = copy.deepcopy(value)
    target: Any = changed
    while True:
        keys = list(target) if isinstance(target, dict) else list(range(len(target)))
        key = data.draw(st.sampled_from(keys))
        if isinstance(target[key], dict | list) and target[key] and data.draw(st.booleans()):
            target = target[key]
            continue
        target[key] = data.draw(JUNK)
        break
    with Changed(whole / "manifest.json", signed(changed)):
        read_or_refuse(whole)


def test_files_that_fit_their_checksum_but_not_the_manifest(whole: Path) -> None:
    """An attacker who signs everything still cannot make a header lie about its file."""
    value = json.loads((whole / "manifest.json").read_bytes())
    slug = next(layer["slug"] for layer in value["layers"] if layer["name"] == MAPS)
    for name, old, new in [
        (f"activations/{slug}/00000.npy", b"<f2", b"<i2"),
        (f"activations/{slug}/00000.npy", b"False", b"True "),
        (f"activations/{slug}/00000.npy", b"(4, 5, 3, 2)", b"(4, 5, 2, 3)"),
        (f"activations/{slug}/00000.npy", b"(4, 5, 3, 2)", b"(9, 9, 9, 9)"),
        ("embeddings/pool.npy", b"<f4", b"<i4"),
        ("embeddings/pool.npy", b"(11, 3)", b"(3, 11)"),
        ("embeddings/pool.npy", b"'<f4'", b"'|O' "),
        ("outputs/00000.npy", b"<f4", b"<i4"),
    ]:
        changed = copy.deepcopy(value)
        content = (whole / name).read_bytes().replace(old, new, 1)
        assert content != (whole / name).read_bytes()
        changed["files"][name] = [len(content), hashlib.sha256(content).hexdigest()]
        words = name.rpartition("/")[2].replace(".", r"\.")
        with (
            Changed(whole / name, content),
            Changed(whole / "manifest.json", signed(changed)),
            pytest.raises(StoreCorrupt, match=words),
        ):
            read_everything(whole)


def test_a_picture_of_another_size_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    from PIL import Image

    from widgetkit.store import images

    Image.new("RGB", (9000, 9000)).save(tmp_path / "bomb.png")
    with pytest.raises(StoreCorrupt, match="9000"):
        images.decode((tmp_path / "bomb.png").read_bytes(), (12, 10, 3), "png", "it")
    Image.new("RGB", (10, 12)).save(tmp_path / "other.bmp")
    with pytest.raises(StoreCorrupt, match="damaged"):
        images.decode((tmp_path / "other.bmp").read_bytes(), (12, 10, 3), "png", "it")


def test_the_report_counts_what_it_read(whole: Path) -> None:
    store = ActivationStore.open(whole)
    report = store.verify()
    listed = [f for f in files_of(whole) if "derived" not in f.parts and f.name != "manifest.json"]
    assert (report.ok, report.files) == (True, len(listed))
    assert report.bytes == sum(file.stat().st_size for file in listed)
    quick = store.verify(full=False)
    assert quick.ok and quick.files == report.files
