"""Files appear whole or not at all, and never over another by accident."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from widgetkit.errors import InvalidInput, OutputExists, OutputFailed
from widgetkit.slides.export_output import need_space, new_file, plain


def test_a_file_is_there_only_when_it_is_complete(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    with new_file(target, (".txt",)) as file:
        file.write(b"whole")
        assert not target.exists()
    assert target.read_bytes() == b"whole"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_interruption_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    with pytest.raises(error), new_file(tmp_path / "a.txt", (".txt",)) as file:
        file.write(b"half")
        raise error
    assert list(tmp_path.iterdir()) == []


def test_another_file_is_never_replaced_unless_asked(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_bytes(b"old")
    with pytest.raises(OutputExists, match="overwrite=True"), new_file(target, (".txt",)):
        pytest.fail("the file was opened")
    with new_file(target, (".txt",), overwrite=True) as file:
        file.write(b"new")
    assert target.read_bytes() == b"new"


def test_a_file_that_appears_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    with pytest.raises(OutputExists), new_file(target, (".txt",)) as file:
        file.write(b"mine")
        target.write_bytes(b"theirs")
    assert target.read_bytes() == b"theirs"
    assert list(tmp_path.iterdir()) == [target]


def test_wrong_places_are_refused_with_the_cure(tmp_path: Path) -> None:
    for path, said in (
        (tmp_path / "a.png", "such an ending"),
        (tmp_path / "none" / "a.txt", "make it first"),
    ):
        with pytest.raises(InvalidInput, match=said), new_file(path, (".txt",)):
            pytest.fail("the file was opened")
    (tmp_path / "d.txt").mkdir()
    with pytest.raises(InvalidInput, match="folder"), new_file(tmp_path / "d.txt", (".txt",)):
        pytest.fail("the file was opened")


def test_too_little_space_is_said_before_writing(tmp_path: Path) -> None:
    with pytest.raises(OutputFailed, match="are free"):
        need_space(tmp_path / "a.txt", 2**62)


@pytest.mark.skipif(sys.platform == "win32", reason="no limit on the size of files there")
def test_a_full_disk_is_said_and_leaves_nothing(tmp_path: Path) -> None:
    """The system's own refusal, by a limit on the size of files."""
    script = f"""
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
import numpy as np
from widgetkit.errors import OutputFailed
from widgetkit.slides.export_tiff import write_ome_tiff
try:
    write_ome_tiff({str(tmp_path / "a.ome.tif")!r}, np.random.default_rng(0).random((1, 99, 99)))
except OutputFailed as error:
    print("said:", error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert "said: No space left while writing 'a.ome.tif'" in done.stdout, done.stderr
    assert list(tmp_path.iterdir()) == []


def test_metadata_text_is_one_line_without_control_characters() -> None:
    assert plain("a\n\x00b\u202e c\ud800") == "a b c"
    assert len(plain("x" * 1000)) == 200
