"""A method is one class in one file: what that promises, and that nothing else needs a list."""

from __future__ import annotations

import ast
import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

import widgetkit.explain
from widgetkit import explain
from widgetkit.errors import InvalidInput, NeedsModel, UnknownName
from widgetkit.explain import Batch, ChannelTarget, ClassTarget, ClusterTarget
from widgetkit.testing.maps import check_map_method, checks, example_batch, example_target

METHODS = explain.methods()
ROOM = Path(widgetkit.explain.__file__).parent


@pytest.mark.parametrize(
    "check",
    [
        pytest.param(check, id=f"{name}-{check.name}")
        for name, cls in METHODS.items()
        for check in checks(cls)
    ],
)
def test_every_method_keeps_its_promises(check: Any) -> None:
    check()


class Brightest:
    """Marks the single strongest position over all channels."""

    name = "brightest"
    title = "Brightest position"
    reference = "Only for this test."
    requires = frozenset({"activations"})
    targets = frozenset({ChannelTarget})
    signed = False

    def compute(self, batch: Batch, target: Any) -> np.ndarray:
        total = batch.need_activations(self.title).sum(axis=1)
        axes = tuple(range(1, total.ndim))
        return (total == total.max(axis=axes, keepdims=True)).astype(np.float32)


@pytest.fixture
def brightest() -> Iterator[type]:
    explain.register(Brightest)
    yield Brightest
    explain.unregister("brightest")


def test_a_new_method_is_found_everywhere(brightest: type) -> None:
    assert explain.methods()["brightest"] is brightest
    assert isinstance(explain.get("brightest"), brightest)
    assert "brightest" in explain.for_target(ChannelTarget)
    assert "brightest" not in explain.for_target(ClassTarget)
    assert explain.is_live(brightest)
    maps = explain.compute("brightest", example_batch(), ChannelTarget(0))
    assert maps.shape == (3, 4, 5) and (maps.sum(axis=(1, 2)) >= 1).all()
    with pytest.raises(UnknownName, match="'brightest'"):
        explain.get("britest")
    with pytest.raises(InvalidInput, match="Methods for that: brightest, channel"):
        explain.compute("cluster", example_batch(), ChannelTarget(0))
    check_map_method(brightest)


def test_a_coarse_version_is_optional_and_of_the_same_kind(
    brightest: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert explain.coarse_of(brightest()) is None

    class Rough(Brightest):
        def coarse(self) -> None:
            return None

    class Other(Rough):
        name = "other"

    monkeypatch.setattr(brightest, "coarse", lambda self: Rough(), raising=False)
    assert isinstance(explain.coarse_of(brightest()), Rough)
    assert explain.coarse_of(Rough()) is None
    check_map_method(brightest)
    for wrong, message in ((lambda self: Other(), "name"), (lambda self: brightest(), "ends")):
        monkeypatch.setattr(brightest, "coarse", wrong)
        with pytest.raises(AssertionError, match=message):
            check_map_method(brightest)


def test_a_method_that_breaks_a_promise_is_caught(brightest: type) -> None:
    def broken(self: Any, batch: Batch, target: Any) -> np.ndarray:
        return batch.need_activations("x").mean(axis=1) * 0 + len(batch)

    Wrong = type("Brightest", (Brightest,), {"compute": broken, "__module__": __name__})
    Wrong.__qualname__ = "Brightest"
    explain.register(Wrong)
    with pytest.raises(AssertionError, match="each tile alone"):
        check_map_method(Wrong)
    explain.register(Brightest)


def test_running_a_cell_again_replaces_the_method(brightest: type) -> None:
    again = type("Brightest", (Brightest,), {"__module__": brightest.__module__})
    again.__qualname__ = brightest.__qualname__
    assert explain.register(again) is again
    assert explain.methods()["brightest"] is again


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"name": "cluster"}, "taken by widgetkit.explain.cluster.ClusterMap"),
        ({"name": "Bad Name"}, "lower-case"),
        ({"requires": frozenset()}, "requires"),
        ({"requires": frozenset({"gpu"})}, r"\['gpu'\]"),
        ({"targets": frozenset()}, "targets"),
        ({"compute": None}, "lacks compute"),
    ],
)
def test_what_is_no_method_is_refused(changes: dict[str, Any], message: str) -> None:
    before = explain.methods()
    with pytest.raises(InvalidInput, match=message):
        explain.register(type("Other", (Brightest,), changes))
    with pytest.raises(
        InvalidInput, match="lacks name, title, reference, requires, targets, signed"
    ):
        explain.register(type("Empty", (), {"compute": lambda self, batch, target: None}))
    assert explain.methods() == before


def test_unknown_names_list_the_near_ones() -> None:
    with pytest.raises(UnknownName, match="Near: 'gradcam'"):
        explain.get("grad-cam")
    with pytest.raises(UnknownName, match="no map method 'x' to unregister"):
        explain.unregister("x")


def test_which_methods_are_live() -> None:
    live = {name for name, cls in METHODS.items() if explain.is_live(cls)}
    assert live == {"cluster", "selection", "channel", "cam", "concept", "concept-plain"}
    assert set(explain.for_target(ClusterTarget)) == {"cluster"}


def test_no_list_names_the_methods() -> None:
    """Each method's name is written in its own file and nowhere else in the room."""
    sources = {path.name: path.read_text(encoding="utf-8") for path in ROOM.glob("*.py")}
    for name, cls in METHODS.items():
        home = Path(sys.modules[cls.__module__].__file__ or "").name
        for file, text in sources.items():
            strings = {n.value for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Constant)}
            assert (name in strings) == (file == home), f"{name!r} is written in {file}"


def test_every_module_is_loaded_by_discovery() -> None:
    script = (
        "import sys, widgetkit.explain as e; before = set(sys.modules); e.methods();"
        "print('torch' in sys.modules, 'widgetkit.explain.gradcam' in before, "
        "'widgetkit.explain.gradcam' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["False", "False", "True"]
    found = {module.name for module in pkgutil.iter_modules([str(ROOM)])}
    assert {cls.__module__.rpartition(".")[2] for cls in METHODS.values()} <= found


def test_compute_checks_what_a_method_returns() -> None:
    @dataclass(frozen=True)
    class Careless:
        name: ClassVar[str] = "careless"
        title: ClassVar[str] = "Careless"
        reference: ClassVar[str] = "Only for this test."
        requires: ClassVar[frozenset[Any]] = frozenset({"activations"})
        targets: ClassVar[frozenset[type]] = frozenset({ChannelTarget})
        signed: ClassVar[bool] = False
        gives: Any = None

        def compute(self, batch: Batch, target: Any) -> Any:
            return self.gives

    batch = example_batch()
    with pytest.raises(InvalidInput, match="shape"):
        explain.compute(Careless(np.zeros((2, 4, 5))), batch, ChannelTarget(0))
    with pytest.raises(InvalidInput, match="NaN or infinity for tiles 0, 1, 2"):
        explain.compute(Careless(np.full((3, 4, 5), np.nan)), batch, ChannelTarget(0))
    assert (
        explain.compute(Careless(np.ones((3, 4, 5))), batch, ChannelTarget(0)).dtype == np.float32
    )


def test_a_session_without_the_network_hears_how_to_pass_it() -> None:
    from dataclasses import replace

    for name, cls in METHODS.items():
        if not explain.is_live(cls):
            with pytest.raises(NeedsModel, match=r"wk\.explore\(store, model=\.\.\.\)"):
                batch = example_batch()
                target = example_target(min(cls.targets, key=str), batch)
                explain.compute(name, replace(batch, model=None), target)  # type: ignore[arg-type]
