"""Build sdist and wheel; both must hold the front end and the demo, and the wheel must import alone."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

MUST = (
    "widgetkit/py.typed",
    "widgetkit/widgets/static/scatter.js",
    "widgetkit/widgets/static/gallery.js",
    "widgetkit/widgets/static/maps.js",
    "widgetkit/widgets/static/volume.js",
    "widgetkit/demos/data/demo.zip",
    "widgetkit/demos/data/lung.zip",
    "widgetkit/demos/data/lesions.zip",
    "widgetkit/demos/data/lesion-net.npz",
)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            [sys.executable, "-m", "build", "--outdir", folder, "."],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        wheel = next(Path(folder).glob("*.whl"))
        sdist = next(Path(folder).glob("*.tar.gz"))
        in_wheel = set(zipfile.ZipFile(wheel).namelist())
        with tarfile.open(sdist) as archive:
            in_sdist = {name.split("/", 1)[-1] for name in archive.getnames()}
        for name in MUST:
            assert name in in_wheel, f"{wheel.name} lacks {name}"
            assert name in in_sdist, f"{sdist.name} lacks {name}"
        stray = [n for n in in_wheel if n.startswith(("tests/", "notebooks/", "js/"))]
        assert not stray, f"the wheel holds files outside the package: {stray[:5]}"
        target = Path(folder) / "site"
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(target)
        code = (
            "import sys, widgetkit, pathlib; "
            f"assert pathlib.Path(widgetkit.__file__).is_relative_to({str(target)!r}), widgetkit.__file__; "
            "import widgetkit.widgets as w; assert w.Scatter._esm; "
            "print('wheel imports:', widgetkit.__version__)"
        )
        subprocess.run(
            [sys.executable, "-c", code],
            check=True,
            cwd=folder,
            env={"PYTHONPATH": str(target), "PATH": "/usr/bin:/bin"},
        )
        print(f"{wheel.name}: {wheel.stat().st_size / 1e6:.1f} MB, {len(in_wheel)} files")


if __name__ == "__main__":
    main()
