"""Execute the quickstart notebook without a browser; write what it made; say where.

Fails when a cell fails, or when the kernel's memory peaked above ``--most-mb``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

REPO = Path(__file__).resolve().parent.parent
PEAK = (
    "import resource, sys; "
    "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (1024 if sys.platform != 'darwin' else 2**20))"
)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument(
        "notebook", nargs="?", default=REPO / "notebooks" / "01-quickstart.ipynb", type=Path
    )
    arguments.add_argument("--output", default=REPO / "output", type=Path)
    arguments.add_argument("--most-mb", type=int, default=None)
    options = arguments.parse_args()

    output = options.output.resolve()
    output.mkdir(parents=True, exist_ok=True)
    notebook = nbformat.read(options.notebook, as_version=4)
    notebook.cells.append(nbformat.v4.new_code_cell(PEAK))
    # cells run in the output folder, so that what they save lands there and not in the checkout
    client = NotebookClient(
        notebook, timeout=600, kernel_name="python3", store_widget_state=False,
        resources={"metadata": {"path": str(output)}},
    )  # fmt: skip
    written = output / options.notebook.name
    try:
        client.execute()
    except CellExecutionError:
        nbformat.write(notebook, written)  # to look at what went wrong
        raise
    peak = int(notebook.cells.pop().outputs[0]["text"])
    nbformat.write(notebook, written)
    print(f"Executed {options.notebook.name}: {len(notebook.cells)} cells, kernel peak {peak} MB.")
    for path in sorted(output.iterdir()):
        print(f"  {path}  {path.stat().st_size / 1000:.0f} kB")
    if options.most_mb is not None and peak > options.most_mb:
        raise SystemExit(f"The kernel peaked at {peak} MB, above the {options.most_mb} MB allowed.")


if __name__ == "__main__":
    main()
