"""The rules of the house: one test each."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parent.parent
PACKAGE = REPO / "widgetkit"
HEAVY = (
    "torch",
    "umap",
    "numba",
    "sklearn",
    "plotly",
    "matplotlib",
    "pydicom",
    "nibabel",
    "captum",
)

# A room may import the rooms named here (and itself); "errors", "palette", "_version" serve all.
BELOW: dict[str, set[str]] = {
    "errors": set(),
    "palette": set(),
    "store": set(),
    "tiles": {"store"},
    "extraction": {"tiles", "store"},
    "analysis": set(),
    "simulate": {
        "concepts",
        "deep_clustering",
        "extraction",
        "explain",
        "analysis",
        "tiles",
        "store",
    },
    "deep_clustering": {"extraction", "tiles", "explain", "analysis", "store"},
    "explain": {"analysis", "store"},
    "factors": {"explain", "analysis", "store"},
    "concepts": {"explain", "analysis", "store"},
    "slides": {"factors", "explain", "analysis", "store"},
    "session": {"slides", "concepts", "factors", "explain", "analysis", "store"},
    "figures": {"session", "slides", "concepts", "factors", "explain", "analysis", "store"},
    "widgets": {
        "concepts",
        "figures",
        "session",
        "slides",
        "factors",
        "explain",
        "analysis",
        "store",
        "extraction",
    },
    "demos": {
        "concepts",
        "simulate",
        "deep_clustering",
        "widgets",
        "session",
        "factors",
        "extraction",
        "tiles",
        "analysis",
        "store",
    },
    "testing": {"widgets", "session", "explain", "analysis", "store", "tiles", "extraction"},
    "cli": {"demos", "store"},
    "__main__": {"cli"},
}
COMMON = {"errors", "palette", "_version"}


def modules() -> dict[str, Path]:
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(REPO).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = path
    return found


def imports(path: Path, name: str) -> dict[str, bool]:
    """Modules of ours that a file imports -> whether at module level (when it is loaded)."""
    known = modules()
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    found: dict[str, bool] = {}

    def visit(node: ast.AST, top: bool) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
                continue
            inner = top and not isinstance(
                child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
            )
            targets: list[str] = []
            if isinstance(child, ast.Import):
                targets = [a.name for a in child.names]
            elif isinstance(child, ast.ImportFrom):
                base = child.module or ""
                if child.level:
                    up = package.split(".")[: len(package.split(".")) - child.level + 1]
                    base = ".".join([*up, base] if base else up)
                targets = [
                    f"{base}.{a.name}" if f"{base}.{a.name}" in known else base for a in child.names
                ]
            for target in targets:
                if target.split(".")[0] == "widgetkit" and target in known:
                    found[target] = found.get(target, False) or top
            visit(child, inner)

    visit(ast.parse(path.read_text(encoding="utf-8")), True)
    return found


def room(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


def test_imports_point_downwards() -> None:
    wrong = []
    for name, path in modules().items():
        here = room(name)
        if not here or here == "_version":
            continue
        assert here in BELOW, f"{name}: add the new room to BELOW with what it may import"
        for target in imports(path, name):
            there = room(target)
            if there and there != here and there not in BELOW[here] | COMMON:
                wrong.append(f"{name} imports {target}")
    assert not wrong, "\n".join(wrong)


def test_no_module_is_in_a_cycle() -> None:
    graph = {
        n: [t for t, top in imports(p, n).items() if top and t != n] for n, p in modules().items()
    }
    state: dict[str, int] = {}

    def visit(name: str, trail: list[str]) -> None:
        if state.get(name) == 2:
            return
        assert state.get(name) != 1, " -> ".join([*trail[trail.index(name) :], name])
        state[name] = 1
        for target in graph.get(name, []):
            # a submodule importing a sibling through its own package's __init__ is a cycle as well
            visit(target, [*trail, name])
        state[name] = 2

    for name in graph:
        visit(name, [])


def loaded_after(code: str) -> set[str]:
    script = f"import sys\n{code}\nprint(*[m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=REPO, check=True
    )
    return set(done.stdout.split())


def test_import_widgetkit_loads_nothing_heavy() -> None:
    assert loaded_after("import widgetkit") == set()


@pytest.mark.parametrize(
    "name",
    [
        "store",
        "tiles",
        "extraction",
        "analysis",
        "explain",
        "factors",
        "concepts",
        "slides",
        "session",
        "figures",
        "deep_clustering",
        "simulate",
    ],
)
def test_a_room_loads_nothing_heavy_until_used(name: str) -> None:
    assert loaded_after(f"import widgetkit.{name}") == set()


def test_every_public_name_is_there_and_documented() -> None:
    import widgetkit as wk

    for name in wk.__all__:
        value = getattr(wk, name)
        if name != "__version__":
            assert (value.__doc__ or "").strip(), f"widgetkit.{name} has no docstring"


def test_every_view_describes_itself() -> None:
    from widgetkit import widgets
    from widgetkit.widgets.base import View

    views = [getattr(widgets, name) for name in widgets.__all__ if name != "explore"]
    views = [view for view in views if isinstance(view, type)]
    assert len(views) >= 7
    for view in views:
        assert callable(getattr(view, "describe", None)), f"{view.__name__} has no describe()"
        assert callable(getattr(view, "save", None)), f"{view.__name__} cannot be saved"
        if issubclass(view, View):
            assert view.describe is not View.describe, f"{view.__name__} does not describe itself"


def test_nothing_unpickles_or_evaluates_a_file() -> None:
    wrong = []
    for name, path in modules().items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                names = [a.name for a in node.names] + [getattr(node, "module", None) or ""]
                if {"pickle", "joblib", "cloudpickle", "dill"} & {n.split(".")[0] for n in names}:
                    wrong.append(f"{name}:{node.lineno} imports a pickler")
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                if called in ("eval", "exec"):
                    wrong.append(f"{name}:{node.lineno} calls {called}")
                for keyword in node.keywords:
                    said = ast.unparse(keyword.value)
                    if (keyword.arg, said) in {
                        ("allow_pickle", "True"),
                        ("weights_only", "False"),
                        ("shell", "True"),
                    }:
                        wrong.append(f"{name}:{node.lineno} {keyword.arg}={said}")
    assert not wrong, "\n".join(wrong)


def test_notebooks_carry_no_widget_state_and_are_small() -> None:
    for path in sorted((REPO / "notebooks").glob("*.ipynb")):
        text = path.read_text(encoding="utf-8")
        assert "application/vnd.jupyter.widget-state" not in text, path.name
        assert len(text) < 500_000, f"{path.name} is {len(text)} bytes"


def test_no_machine_path_in_the_project() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=REPO, capture_output=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    here = ("/work" + "/", "/root" + "/", "/home" + "/")
    wrong = []
    for name in filter(None, listed.stdout.decode().split("\0")):
        path = REPO / name
        if (
            path.suffix in {".png", ".gif", ".zip", ".svs", ".npy", ".parquet", ".webp"}
            or not path.is_file()
        ):
            continue
        text = path.read_text(encoding="utf-8", errors="ignore")
        wrong += [
            f"{name}: {p}" for p in here if f" {p}" in text or f'"{p}' in text or f"'{p}" in text
        ]
    assert not wrong, wrong
