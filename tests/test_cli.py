"""The command line: what it says, and one line when something is wrong."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.stores import make_store
from widgetkit._version import __version__
from widgetkit.cli import main


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(make_store(tmp_path_factory.mktemp("cli") / "small.wk", n=12).path)


def fails(*arguments: str, capsys: pytest.CaptureFixture[str]) -> str:
    """The one line of a command that ends with 1."""
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 1
    said = capsys.readouterr()
    assert said.err.count("\n") == 1 and "Traceback" not in said.err
    return said.err


def test_info_says_what_a_store_holds(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["info", str(store)])
    said = capsys.readouterr().out
    assert "12 tiles from 3 sources" in said and "features.4: 24 channels, 7x7" in said
    assert "patient" not in said


def test_verify_finds_damage(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["verify", str(store)])
    assert capsys.readouterr().out.startswith("sound: ")
    damaged = Path(make_store(tmp_path / "damaged.wk", n=12).path)
    victim = next((damaged / "images").rglob("*.*"))
    data = bytearray(victim.read_bytes())
    data[-1] ^= 1
    victim.write_bytes(data)
    with pytest.raises(SystemExit) as end:
        main(["verify", str(damaged)])
    assert end.value.code == 1
    said = capsys.readouterr().out
    assert "DAMAGED" in said and victim.name in said


@pytest.mark.parametrize("command", ["info", "verify"])
def test_what_is_no_store_is_one_line(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "StoreNotFound" in fails(command, str(tmp_path / "none.wk"), capsys=capsys)
    (tmp_path / "file.wk").write_text("not a store")
    fails(command, str(tmp_path / "file.wk"), capsys=capsys)
    (tmp_path / "broken.wk").mkdir()
    (tmp_path / "broken.wk" / "manifest.json").write_text("{\n")
    fails(command, str(tmp_path / "broken.wk"), capsys=capsys)


def test_a_folder_that_may_not_be_read_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import widgetkit.store

    def refused(path: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(widgetkit.store, "open", refused)
    assert "Permission denied" in fails("info", "a.wk", capsys=capsys)


def test_wrong_use_exits_2(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([], ["nonsense"], ["info"]):
        with pytest.raises(SystemExit) as end:
            main(arguments)
        assert end.value.code == 2
    assert "usage" in capsys.readouterr().err


def test_it_runs_as_a_program_and_loads_nothing_heavy(store: Path) -> None:
    code = (
        "import sys; from widgetkit.cli import main; main(['info', sys.argv[1]]);"
        "print([m for m in ('torch', 'umap', 'sklearn', 'plotly', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(store)],
        capture_output=True, text=True, check=True, env=os.environ,
    )  # fmt: skip
    assert done.stdout.splitlines()[-1] == "[]"
    with pytest.raises(SystemExit) as end:
        main(["--version"])
    assert end.value.code == 0
    assert __version__


def test_demo_without_its_files_and_offline_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from widgetkit import demos
    from widgetkit.errors import FetchFailed

    def offline() -> None:
        raise FetchFailed("The demo file is not there.\nFetching is forbidden.")

    monkeypatch.setattr(demos, "demo_store", offline)
    assert "FetchFailed" in fails("demo", capsys=capsys)
