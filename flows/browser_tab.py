"""A tab of the local Chromium, driven by the DevTools protocol, without a framework."""

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

from websockets.sync.client import connect
from websockets.sync.connection import Connection

NAMES = ("chromium", "chromium-browser", "google-chrome")
QUIET = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--disable-default-apps", "--disable-extensions",
    "--metrics-recording-only", "--no-proxy-server", "--remote-debugging-port=0",
)  # fmt: skip
ANSWER_SECONDS = 120.0


def browser_path() -> str | None:
    """Where the browser of this machine is; None where there is none."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Tab:
    """One page of a browser: what it logged as an error, and every address that it asked for."""

    def __init__(self, socket: Connection, session: str) -> None:
        self._socket, self._session, self._number = socket, session, 0
        self.errors: list[str] = []
        self.asked: list[str] = []
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.tell(f"{domain}.enable")

    def tell(self, method: str, **given: object) -> dict[str, Any]:
        """Send a command and wait for its answer.

        Raises
        ------
        RuntimeError
            The browser could not do it.
        """
        self._number += 1
        self._socket.send(
            json.dumps({"id": self._number, "sessionId": self._session, "method": method, "params": given})
        )
        while True:
            message = json.loads(self._socket.recv(timeout=ANSWER_SECONDS))
            if message.get("id") == self._number:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']}")
                found: dict[str, Any] = message["result"]
                return found
            self._hear(message)

    def _hear(self, message: dict[str, Any]) -> None:
        given = message.get("params", {})
        if message.get("method") == "Network.requestWillBeSent":
            self.asked.append(given["request"]["url"])
        elif message.get("method") == "Runtime.exceptionThrown":
            self.errors.append(str(given["exceptionDetails"]))
        elif message.get("method") == "Log.entryAdded" and given["entry"]["level"] == "error":
            self.errors.append(f"{given['entry']['text']} {given['entry'].get('url', '')}")

    def run(self, script: str) -> Any:  # noqa: ANN401 - whatever the script gives
        """Ask the page something; a promise is waited for.

        Raises
        ------
        RuntimeError
            The script failed.
        """
        found = self.tell("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in found:
            raise RuntimeError(str(found["exceptionDetails"]))
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
        """Wait until a page is whole.

        Raises
        ------
        TimeoutError
            It did not come.
        """
        ends = time.monotonic() + ANSWER_SECONDS
        is_there = "document.readyState === 'complete' && location.href !== 'about:blank'"
        while time.monotonic() < ends:
            time.sleep(0.02)
            if self.run(is_there + (" && !window.isOld" if is_new else "")):
                return
        raise TimeoutError("the page did not come")

    def size(self, width: int, height: int, scheme: str = "light") -> None:
        """Be a screen of a size, by day or by night."""
        self.tell("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.tell("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def picture(self) -> bytes:
        """Take the whole page as a PNG, down to its end."""
        size = self.tell("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        found = self.tell("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
        return base64.b64decode(found["data"])


@contextmanager
def open_tab(folder: Path) -> Iterator[Tab]:
    """Start the browser of this machine with a folder of its own, and end it.

    Raises
    ------
    RuntimeError
        There is none, or it did not start.
    """
    path = browser_path()
    if path is None:
        raise RuntimeError("there is no browser")
    words = [path, *QUIET, f"--user-data-dir={folder}"]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)  # noqa: S603 - one of our names
    try:
        address = next((line.split()[-1] for line in process.stderr or () if "DevTools listening on" in line), "")
        if not address:
            raise RuntimeError(f"{path} did not start")
        with connect(address, max_size=None) as socket:
            socket.send(json.dumps({"id": 1, "method": "Target.createTarget", "params": {"url": "about:blank"}}))
            target = _answer(socket, 1)["targetId"]
            attach = {"targetId": target, "flatten": True}
            socket.send(json.dumps({"id": 2, "method": "Target.attachToTarget", "params": attach}))
            yield Tab(socket, _answer(socket, 2)["sessionId"])
    finally:
        process.terminate()
        process.wait()


def _answer(socket: Connection, number: int) -> dict[str, Any]:
    while (message := json.loads(socket.recv(timeout=ANSWER_SECONDS))).get("id") != number:
        pass
    found: dict[str, Any] = message["result"]
    return found
