"""Screenshots of the desk for documents, made with a local browser."""

from __future__ import annotations

import socket
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from configs.errors import InputError
from flows.browser_tab import NAMES, Tab, browser_path, open_tab
from flows.serve_desk import open_desk
from serving.desk.desk_app import desk_server
from serving.desk.page_list import PAGES
from serving.desk.visitors import Authenticator

# by screen: how wide, how high a window begins, by day or by night
SCREENS = {"": (1200, 900, "light"), "-dark": (1200, 900, "dark"), "-phone": (360, 800, "light")}
ENDS_WITHIN = 10.0  # seconds
FIRST_PERSON = "document.querySelector('tbody a')?.getAttribute('href') ?? ''"


def take_pictures(profile: str | None, data_dir: str | None, folder: Path) -> Iterator[str]:
    """Write PNGs of every page and of a person's into a folder, which is made where there is none, and name each.

    Each page is taken whole, for a wide screen in light and dark and for a phone.

    Raises
    ------
    InputError
        No browser was found, or the folder cannot be written.
    """
    if browser_path() is None:
        raise InputError(f"none of {', '.join(NAMES)} was found; install one, such as with apt-get install chromium")
    folder.mkdir(parents=True, exist_ok=True)
    listening = socket.create_server(("127.0.0.1", 0))
    desk, home = open_desk(profile, data_dir), f"http://127.0.0.1:{listening.getsockname()[1]}"
    server = desk_server(desk, Authenticator())
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    try:
        yield from _of_pages(home, folder)
    finally:
        server.should_exit = True  # a process that ends under a thread that answers can crash
        thread.join(ENDS_WITHIN)


def _of_pages(home: str, folder: Path) -> Iterator[str]:
    """Take every page of a desk that answers."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as own, open_tab(Path(own)) as tab:
        tab.open(f"{home}/people?order=risk")
        addresses = {name: f"/{name}" for name in PAGES}
        if person := tab.run(FIRST_PERSON):
            addresses["person"] = person
        for name, address in addresses.items():
            yield from _of_page(tab, f"{home}{address}", folder, name)


def _of_page(tab: Tab, address: str, folder: Path, name: str) -> Iterator[str]:
    """Take one page for every screen."""
    tab.open(address)
    for suffix, screen in SCREENS.items():
        tab.size(*screen)
        path = folder / f"{name}{suffix}.png"
        try:
            path.write_bytes(tab.picture())
        except OSError as error:
            raise InputError(f"{path} cannot be written ({error.strerror}); name another folder") from error
        yield str(path)
