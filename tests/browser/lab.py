"""A real JupyterLab and a real Chromium, driven from tests and benchmarks."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import nbformat

#: Chromium needs no flag for WebGL (software); these only keep it from calling out.
CHROMIUM_FLAGS = (
    "--no-sandbox",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
QUIET_NEWS = {"fetchNews": "false", "checkForUpdates": False}


def find_chromium() -> str | None:
    for name in ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"):
        if path := shutil.which(name):
            return path
    return None


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Lab:
    """One Jupyter server in a folder of its own."""

    def __init__(
        self, folder: Path, *, app: str = "lab", env: dict[str, str] | None = None
    ) -> None:
        self.root = folder / "root"
        self.root.mkdir(parents=True)
        settings = folder / "settings" / "@jupyterlab" / "apputils-extension"
        settings.mkdir(parents=True)
        (settings / "notification.jupyterlab-settings").write_text(json.dumps(QUIET_NEWS))
        self.port = free_port()
        self.app = app
        own = {
            "JUPYTER_CONFIG_DIR": str(folder / "config"),
            "JUPYTERLAB_SETTINGS_DIR": str(folder / "settings"),
            "JUPYTERLAB_WORKSPACES_DIR": str(folder / "workspaces"),
            "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
            "IPYTHONDIR": str(folder / "ipython"),
            **(env or {}),
        }
        self.log = folder / "server.log"
        command = [
            sys.executable, "-m", "jupyter", app, "--no-browser", "--allow-root", "--ip=127.0.0.1",
            f"--port={self.port}", "--ServerApp.port_retries=0", "--IdentityProvider.token=",
            "--ServerApp.password=", "--ServerApp.disable_check_xsrf=True",
            f"--ServerApp.root_dir={self.root}",
        ]  # fmt: skip
        if app == "lab":
            command.append("--LabApp.expose_app_in_browser=True")
        self._log = self.log.open("wb")
        self.process = subprocess.Popen(
            command,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            env=os.environ | own,
            start_new_session=True,
        )

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def wait(self, tries: int = 600) -> None:
        for _ in range(tries):
            if self.process.poll() is not None:
                raise RuntimeError(f"the Jupyter server stopped:\n{self.log.read_text()[-3000:]}")
            try:
                with urllib.request.urlopen(f"{self.url}/api/status"):
                    return
            except OSError:
                time.sleep(0.2)
        raise RuntimeError(f"the Jupyter server does not answer:\n{self.log.read_text()[-3000:]}")

    def notebook(self, name: str, cells: Sequence[str]) -> str:
        book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
        book.metadata["kernelspec"] = {
            "name": "python3",
            "display_name": "Python 3",
            "language": "python",
        }
        nbformat.write(book, self.root / name)
        return name

    def stop(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()
        self._log.close()

    def __enter__(self) -> Self:
        self.wait()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


_IDLE = (
    "() => window.jupyterapp && window.jupyterapp.shell.currentWidget"
    " && window.jupyterapp.shell.currentWidget.sessionContext"
    " && window.jupyterapp.shell.currentWidget.sessionContext.session"
    " && window.jupyterapp.shell.currentWidget.sessionContext.session.kernel"
    " && window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.status === 'idle'"
)

_RAISED = """() => window.jupyterapp.shell.currentWidget.content.model.toJSON().cells
  .flatMap(cell => cell.outputs || []).filter(output => output.output_type === 'error')
  .map(output => [output.ename + ': ' + output.evalue, ...output.traceback].join('\\n'))"""


class Notebook:
    """A notebook open in a page: run its cells, run more Python in its kernel, look at it."""

    def __init__(self, page: Any, lab: Lab, name: str) -> None:
        self.page = page
        self.lab = lab
        self.name = name
        self.console: list[str] = []
        page.on("console", lambda m: self.console.append(f"{m.type}: {m.text}"))
        page.on("pageerror", lambda e: self.console.append(f"pageerror: {e}"))

    def open(self) -> Self:
        self.page.goto(f"{self.lab.url}/lab/tree/{self.name}?reset")
        self.wait_idle()
        return self

    def reload(self) -> None:
        self.page.reload()
        self.wait_idle()

    def save(self) -> None:
        """Save the notebook: only saved outputs are there after a reload."""
        self.page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")

    def wait_idle(self) -> None:
        self.page.wait_for_function(_IDLE, timeout=180_000)

    def run_all(self) -> None:
        """Run all cells; raises what a cell raised."""
        self.page.evaluate("() => window.jupyterapp.commands.execute('notebook:run-all-cells')")
        self.wait_idle()
        if raised := self.page.evaluate(_RAISED):
            raise AssertionError("\n".join(raised))

    def python(self, code: str) -> str:
        """Run code in the notebook's own kernel; what it printed. Raises what it raised."""
        result = self.page.evaluate(
            """async (code) => {
              const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
              const future = kernel.requestExecute({code, store_history: false});
              let text = '';
              let error = null;
              future.onIOPub = (m) => {
                if (m.header.msg_type === 'stream') text += m.content.text;
                if (m.header.msg_type === 'error') error = m.content.ename + ': ' + m.content.evalue
                  + '\\n' + m.content.traceback.join('\\n');
              };
              await future.done;
              return {text, error};
            }""",
            code,
        )
        if result["error"]:
            raise AssertionError(result["error"])
        return str(result["text"]).strip()

    def value(self, expression: str) -> Any:
        """The value of a Python expression in the kernel, by JSON."""
        return json.loads(self.python(f"import json; print(json.dumps({expression}))"))

    def wait_value(self, expression: str, expected: Any, timeout: float = 60.0) -> None:
        """Ask until the expression has the value; an assertion error with the last one otherwise."""
        end = time.monotonic() + timeout
        while True:
            last = self.value(expression)
            if last == expected:
                return
            if time.monotonic() > end:
                raise AssertionError(f"{expression} is {last!r}, not {expected!r}")
            self.page.wait_for_timeout(100)

    def page_errors(self) -> list[str]:
        """Exceptions that scripts of the page did not catch."""
        return [line for line in self.console if line.startswith("pageerror")]

    def screenshot(self, path: Path) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=str(path))
        return path


#: ``open_notebook`` of conftest.py.
Open = Callable[..., Notebook]


@contextmanager
def chromium() -> Iterator[Any]:
    """A headless Chromium through playwright (Debian's, nothing is downloaded)."""
    from playwright.sync_api import sync_playwright

    executable = find_chromium()
    if executable is None:
        raise FileNotFoundError("no Chromium on the PATH")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=list(CHROMIUM_FLAGS))
        try:
            yield browser
        finally:
            browser.close()
