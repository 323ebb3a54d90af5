"""Pictures of the desk's pages for documents: by a desk of its own and the browser of this machine."""

from __future__ import annotations

import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

from configs.errors import InputError
from flows.serve_desk import open_desk
from serving.desk.desk_app import serve
from serving.desk.page_list import PAGES
from serving.desk.visitors import Door

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
SIZE, SECONDS = "1200,1500", 120
QUIET = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-proxy-server")


def take_pictures(profile: str | None, data_dir: str | None, folder: Path) -> Iterator[str]:
    """Write a PNG of every page into a folder, which is made where there is none, and name each.

    Raises
    ------
    InputError
        No browser was found, or it wrote no picture.
    """
    folder.mkdir(parents=True, exist_ok=True)
    listening = socket.create_server(("127.0.0.1", 0))
    desk = open_desk(profile, data_dir)
    threading.Thread(target=serve, args=(desk, Door(), listening), daemon=True).start()
    browser = _browser()
    for name in PAGES:
        path = folder / f"{name}.png"
        address = f"http://127.0.0.1:{listening.getsockname()[1]}/{name}"
        words = [browser, *QUIET, f"--window-size={SIZE}", f"--screenshot={path}", address]
        done = subprocess.run(words, capture_output=True, text=True, timeout=SECONDS, check=False)  # noqa: S603 - ours
        if "written to file" not in done.stderr:
            raise InputError(f"{browser} wrote no picture to {path}; see that the folder is there and can be written")
        yield str(path)


def _browser() -> str:
    for name in BROWSERS:
        try:
            subprocess.run([name, "--version"], capture_output=True, check=True)  # noqa: S603 - one of our names
        except (OSError, subprocess.CalledProcessError):
            continue
        return name
    raise InputError(f"none of {', '.join(BROWSERS)} was found; install one, such as with apt-get install chromium")
