"""`winback schedule` in a process of its own, asked over its API, and killed as a machine that goes down kills it."""

from __future__ import annotations

import http
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

from nights import Nights
from prefect_server import own_server

PATIENCE = 900.0  # seconds, on a machine that does much else


class Served:
    """`winback schedule` in a process of its own, and its API."""

    def __init__(self, nights: Nights, log: Path) -> None:
        words = ["schedule", "--profile", str(nights.profile), "--data-dir", str(nights.lake.root), "--json"]
        own = {"PYTHONPATH": os.pathsep.join(sys.path), "no_proxy": "127.0.0.1"}
        environment = own_server() | own
        self.log = log
        self.process = subprocess.Popen(
            [sys.executable, "-c", "from flows.cli import main; main()", *words],
            env=environment, stdout=subprocess.PIPE, stderr=log.open("w"), text=True, start_new_session=True,
        )  # fmt: skip
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, log.read_text()
        self.api = f"{json.loads(line)['page']}/api"

    def ask(self, path: str, content: object = None) -> object:
        body = None if content is None else json.dumps(content).encode()
        request = urllib.request.Request(f"{self.api}{path}", body, {"Content-Type": "application/json"})
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        ends = time.monotonic() + PATIENCE
        while True:
            try:
                with direct.open(request, timeout=300) as answer:
                    return json.load(answer)
            except urllib.error.HTTPError as error:  # its database is locked: Prefect's own clients ask again, too
                if error.code != http.HTTPStatus.SERVICE_UNAVAILABLE or time.monotonic() > ends:
                    raise
                time.sleep(0.5)

    def deployment(self) -> str | None:
        served = self.ask("/deployments/filter", {})
        return next((each["id"] for each in served if each["entrypoint"].endswith(".score_daily")), None)

    def begin(self, as_of: object) -> str:
        """Ask for a night as Prefect's page does: its day is a text."""
        place = f"/deployments/{self.within(self.deployment)}/create_flow_run"
        return str(self.ask(place, {"parameters": {"as_of": str(as_of)}})["id"])

    def states(self) -> list[str]:
        """States of the scheduled flow's runs, as they were asked for."""
        wanted = {"flows": {"name": {"any_": ["score-daily"]}}, "sort": "EXPECTED_START_TIME_ASC"}
        return [run["state"]["type"] for run in self.ask("/flow_runs/filter", wanted) if not run["auto_scheduled"]]

    def within(self, found: Callable[[], object]) -> object:
        ends = time.monotonic() + PATIENCE
        while time.monotonic() < ends:
            assert self.process.poll() is None, self.log.read_text()
            if value := found():
                return value
            time.sleep(0.5)
        raise AssertionError(f"nothing came within {PATIENCE} s: {self.states()}\n{self.log.read_text()}")

    def power_off(self) -> None:
        """Kill the schedule and whatever it started, at once."""
        for process in [self.process.pid, *descendants(self.process.pid)]:
            os.kill(process, signal.SIGKILL)
        self.process.wait()


def descendants(process: int) -> Iterator[int]:
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:  # it has ended
            continue
        if parent == process:
            yield int(path.parent.name)
            yield from descendants(int(path.parent.name))
