"""A real browser for tests, without a framework: Debian's Chromium by its DevTools protocol, over one socket."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

NAMES = ("chromium", "chromium-browser", "google-chrome")
QUIET = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--disable-default-apps", "--disable-extensions",
    "--metrics-recording-only", "--no-proxy-server", "--remote-debugging-port=0",
)  # fmt: skip


def browser_path() -> str | None:
    """Where the browser of this machine is; None where there is none."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Tab:
    """One page of a browser: what it logged as an error, and every address that it asked for."""

    def __init__(self, socket: ClientConnection, session: str) -> None:
        self._socket, self._session, self._number = socket, session, 0
        self.errors: list[str] = []
        self.asked: list[str] = []
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.tell(f"{domain}.enable")

    def tell(self, method: str, **given: object) -> dict[str, Any]:
        """Send a command and wait for its answer."""
        self._number += 1
        self._socket.send(
            json.dumps({"id": self._number, "sessionId": self._session, "method": method, "params": given})
        )
        while True:
            message = json.loads(self._socket.recv(timeout=60))
            if message.get("id") == self._number:
                assert "error" not in message, message
                return message["result"]
            self._hear(message)

    def _hear(self, message: dict[str, Any]) -> None:
        given = message.get("params", {})
        if message.get("method") == "Network.requestWillBeSent":
            self.asked.append(given["request"]["url"])
        elif message.get("method") == "Runtime.exceptionThrown":
            self.errors.append(str(given["exceptionDetails"]))
        elif message.get("method") == "Log.entryAdded" and given["entry"]["level"] == "error":
            self.errors.append(f"{given['entry']['text']} {given['entry'].get('url', '')}")

    def run(self, script: str) -> Any:
        """Ask the page something; a promise is waited for."""
        found = self.tell("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def open(self, address: str) -> None:
        """Open an address and wait until it is there."""
        self.tell("Page.navigate", url=address)
        self.wait()

    def click(self, what: str) -> None:
        """Click on what a selector finds, as a person does, and wait for the page that comes."""
        self.run(f"window.isOld = true; document.querySelector({json.dumps(what)}).click()")
        self.wait(is_new=True)

    def wait(self, *, is_new: bool = False) -> None:
        """Wait until a page is whole."""
        ends = time.monotonic() + 30
        is_there = "document.readyState === 'complete' && location.href !== 'about:blank'"
        while time.monotonic() < ends:
            time.sleep(0.05)
            if self.run(is_there + (" && !window.isOld" if is_new else "")):
                return
        raise TimeoutError("the page did not come")

    def size(self, width: int, height: int, scheme: str = "light") -> None:
        """Be a screen of a size, by day or by night."""
        self.tell("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.tell("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def picture(self, path: Path) -> None:
        """Keep the whole page as a PNG."""
        found = self.tell("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(found["data"]))


@contextmanager
def open_tab(folder: Path) -> Iterator[Tab]:
    """Start the browser of this machine with a folder of its own, and end it."""
    path = browser_path()
    assert path is not None
    process = subprocess.Popen([path, *QUIET, f"--user-data-dir={folder}"], stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        address = next(line.split()[-1] for line in process.stderr if "DevTools listening on" in line)
        with connect(address, max_size=None) as socket:
            socket.send(json.dumps({"id": 1, "method": "Target.createTarget", "params": {"url": "about:blank"}}))
            target = _answer(socket, 1)["targetId"]
            attach = {"targetId": target, "flatten": True}
            socket.send(json.dumps({"id": 2, "method": "Target.attachToTarget", "params": attach}))
            yield Tab(socket, _answer(socket, 2)["sessionId"])
    finally:
        process.terminate()
        process.wait()


def _answer(socket: ClientConnection, number: int) -> dict[str, Any]:
    while (message := json.loads(socket.recv(timeout=60))).get("id") != number:
        pass
    return message["result"]
