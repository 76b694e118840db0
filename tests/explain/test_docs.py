"""docs/map-methods.md is run, and its table is held to the registry."""

from __future__ import annotations

import re
import sys
import types
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.explain.nets import ConvNet, textures
from widgetkit import explain
from widgetkit.explain.clam import Clam
from widgetkit.extraction import ModelContext, Preprocess, extract
from widgetkit.store import ActivationStore
from widgetkit.tiles import from_array


@pytest.fixture(scope="module")
def page(repo: Path) -> str:
    return (repo / "docs" / "map-methods.md").read_text(encoding="utf-8")


PREPROCESS = Preprocess(mean=(0.0,), std=(1.0,), scale=255.0)


@pytest.fixture(scope="module")
def network() -> ConvNet:
    return ConvNet(linear=True).eval()


@pytest.fixture(scope="module")
def store(network: ConvNet, tmp_path_factory: pytest.TempPathFactory) -> ActivationStore:
    tiles = from_array(textures(6, (32, 32)))
    out = tmp_path_factory.mktemp("docs") / "small.wk"
    return extract(network, tiles, ["features"], out=out, preprocess=PREPROCESS, progress=False)


@pytest.fixture
def registry() -> Iterator[None]:
    before = set(explain.methods())
    yield
    for name in set(explain.methods()) - before:
        explain.unregister(name)


def test_the_table_is_the_registry(page: str) -> None:
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in page.splitlines()
        if re.match(r"\| `[a-z-]+` \|", line)
    ]
    values = {"channel": "as stored"}
    expected = [
        [
            f"`{name}`",
            cls.title,
            ", ".join(sorted(f"`{kind.__name__}`" for kind in cls.targets)),
            ", ".join(sorted(cls.requires)),
            "yes" if explain.is_live(cls) else "no",
            values.get(name, "signed" if cls.signed else "from zero"),
        ]
        for name, cls in explain.methods().items()
    ]
    assert rows == expected


def test_every_method_is_described(page: str) -> None:
    for name, cls in explain.methods().items():
        assert re.search(rf"\*\*{name}\*\*|\*\*{name}\.\*\*", page), f"{name} has no paragraph"
        assert len((cls.__doc__ or "").splitlines()) > 2, f"{name} has no docstring"


def test_the_page_runs(
    page: str,
    network: ConvNet,
    store: ActivationStore,
    registry: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    context = ModelContext.for_store(network, store)
    module = types.ModuleType("map_methods_page")  # dataclasses look their own module up
    monkeypatch.setitem(sys.modules, module.__name__, module)
    names: dict[str, Any] = vars(module)
    names.update(store=store, context=context)
    blocks = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    assert len(blocks) == 4
    for number, block in enumerate(blocks):
        exec(compile(block, f"map-methods.md, block {number}", "exec"), names)
    maps = names["maps"]
    assert maps.shape == (3, *store.layers["features"].grid) and np.isfinite(maps).all()
    assert "versus" in explain.methods()
    batch, versus = names["batch"], names["Versus"]
    both = [explain.compute("cam", batch, explain.ClassTarget(i)) for i in (0, 1)]
    found = explain.compute("versus", batch, versus(0, 1))
    np.testing.assert_allclose(found, both[0] - both[1], atol=1e-4)
    printed = capsys.readouterr().out
    assert "spearman" in printed and "correlation" in printed
    assert isinstance(explain.pairwise(names["others"]), pd.DataFrame)


def test_the_page_on_clam_runs_and_names_every_option(
    repo: Path, network: ConvNet, store: ActivationStore
) -> None:
    page = (repo / "docs" / "clam.md").read_text(encoding="utf-8")
    # what follows needs a session: tests/session has it
    start = page.partition("## In a session")[0]
    blocks = re.findall(r"```python\n(.*?)```", start, flags=re.DOTALL)
    maps = np.asarray(store.activations("features", [0, 1, 2]), np.float32)
    latents = maps.mean(axis=(2, 3))
    names: dict[str, Any] = {
        "store": store,
        "context": ModelContext.for_store(network, store),
        "centres": np.stack([0 * latents[0], latents[0], latents[1]]),
    }
    assert blocks
    for number, block in enumerate(blocks):
        code = block.replace('"encoder.last"', '"features"').replace('"latent"', '"features"')
        exec(compile(code, f"clam.md, block {number}", "exec"), names)
        assert names["maps"].shape == (3, *store.layers["features"].grid)
    table = set(re.findall(r"^\| `([a-z_]+)` \|", page, flags=re.MULTILINE))
    assert table == {option.name for option in fields(Clam)}
