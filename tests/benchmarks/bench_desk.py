"""How long a page of the desk takes to its first byte, a what-if to its answer, the report to be written, and memory.

Bars: at 100,000 users 300 ms a page and 2 s a what-if, median, and 1 GiB; at a million 500 ms, 15 s, and the report
within 30 s and 5 MiB. By default the users are drawn, and decided by three small models; there are no events, so that a
person's page reads none. ``--keep FOLDER`` asks a whole app instead: that of the folder, as `bench_daily.App` lays it
out; where there is none, one of ``--users`` is simulated, trained and decided there first. The application runs in a
process of its own, as `winback app` does, and is asked over a socket. Nothing but `desk/log` and `reports` is written.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import socket
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import date
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from urllib.parse import quote

sys.path.insert(0, str(Path(__file__).parents[1]))

import bench_daily
from desks import decided_desk
from timing import Metrics, metric

from flows.serve_desk import open_desk
from serving.cubes.day_cubes import write_cubes
from serving.cubes.stored_cubes import cube_days, read_cubes
from serving.desk.desk_app import serve
from serving.desk.desk_pages import Desk
from serving.desk.page_list import PAGES
from serving.desk.visitors import Authenticator
from serving.report_page.report import write_report
from serving.stored_days.day_tables import connect, decisions_source

MIB = 2**20


@dataclass(frozen=True)
class Asked:
    """A desk that is measured: how it is opened, its day, its people, and what is asked of it."""

    open: Callable[[], Desk]
    day: date
    users: int
    pages: tuple[str, ...]
    what_ifs: tuple[str, ...]


def asked_of(opened: Callable[[], Desk]) -> Asked:
    """List every page, a person, searches and what-ifs of the newest day of a desk."""
    desk = opened()
    day = cube_days(desk.lake)[-1]
    with connect(desk.lake) as connection:
        query = f"SELECT count(*), max(user_id), max(channel) FROM {decisions_source(desk.lake, day)}"
        users, person, channel = connection.execute(query).fetchall()[0]
    channels = sorted({row["channel"] for row in read_cubes(desk.lake, day).rules if row["channel"]})
    searches = (f"people/{quote(person, safe='')}", "people?band=high&order=risk", f"people?q={quote(person[:5])}")
    wishes = ("budget_share=0.5", "budget_share=2", f"cap_{channel or channels[0]}=1000")
    return Asked(opened, day, int(users), (*PAGES, *searches), tuple(f"what-if?{wish}" for wish in wishes))


def kept_app(folder: Path, users: int) -> Callable[[], Desk]:
    """Open the app of a folder; where there is none, make one and decide its day."""
    app = bench_daily.App(folder, users, bench_daily.DAYS)
    if not app.profile.exists():
        app.make()
        app.day()
    return partial(open_desk, str(app.profile), str(app.data))


def drawn_app(folder: Path, users: int) -> Callable[[], Desk]:
    """Draw users and decide two days of them."""
    scoring = {"budget": users / 20, "control_share": 0.05, "batch_users": 100_000}
    small = decided_desk(folder, users=users, scoring=scoring)
    return partial(Desk.of, small.settings, small.lake)


def serve_desk(opened: Callable[[], Desk], port: int) -> None:
    """Be the application, in a process of its own."""
    serve(opened(), Authenticator(), socket.create_server(("127.0.0.1", port)))


def cpu_seconds(process: int) -> float:
    """CPU seconds that a process has taken."""
    words = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def first_byte(port: int, address: str) -> float:
    """Seconds until a page begins to come."""
    started = time.perf_counter()
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/{address}", timeout=600) as answer:
        answer.read(1)
        seconds = time.perf_counter() - started
        answer.read()
    return seconds


def peak_mib(process: int) -> float:
    """Most that a process has held."""
    lines = Path(f"/proc/{process}/status").read_text(encoding="utf-8").splitlines()
    return next(float(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


@contextmanager
def served(asked: Asked) -> Iterator[tuple[int, int]]:
    """Run the application; gives its port and process."""
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    process = get_context("spawn").Process(target=serve_desk, args=(asked.open, port), daemon=True)
    process.start()
    for _ in range(600):
        with closing(socket.socket()) as tried:
            if tried.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.1)
    try:
        yield port, process.pid or 0
    finally:
        process.terminate()


def answers(asked: Asked, runs: int) -> Metrics:
    """Ask every page in turn, some times; what the application held after pages, and after what-ifs, is told."""
    found: Metrics = {}
    with served(asked) as (port, process):
        for name, addresses in (("pages", asked.pages), ("what_ifs", asked.what_ifs)):
            times: dict[str, list[float]] = {address: [] for address in addresses}
            taken: dict[str, list[float]] = {address: [] for address in addresses}
            for _ in range(runs):
                for address in addresses:
                    before = cpu_seconds(process)
                    times[address].append(first_byte(port, address))
                    taken[address].append(cpu_seconds(process) - before)
            found |= {f"{each}.first_byte_seconds": metric(own, asked.users) for each, own in times.items()}
            found |= {f"{each}.cpu_seconds": metric(own, asked.users) for each, own in taken.items()}
            found[f"after_{name}.peak_mib"] = metric([peak_mib(process)], asked.users)
    return found


def report(asked: Asked) -> Metrics:
    """Write the report, and weigh it."""
    desk = asked.open()
    wall, cpu = time.perf_counter(), time.process_time()
    path = write_report(desk.settings, desk.lake, asked.day)
    taken = {"seconds": time.perf_counter() - wall, "cpu_seconds": time.process_time() - cpu}
    taken["mib"] = path.stat().st_size / MIB
    return {f"report_written.{name}": metric([each], asked.users) for name, each in taken.items()}


def cubes(asked: Asked) -> Metrics:
    """Add the day up again."""
    desk, cpu = asked.open(), time.process_time()
    write_cubes(desk.settings, desk.lake, asked.day)
    return {"cubes.cpu_seconds": metric([time.process_time() - cpu], asked.users)}


def main() -> None:
    """Print a table for people and one object for machines."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--keep", type=Path, help="folder of an app that is asked, or made first")
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    users = 5_000 if given.quick else given.users
    with tempfile.TemporaryDirectory() as folder:
        opened = kept_app(given.keep, users) if given.keep else drawn_app(Path(folder), users)
        asked = asked_of(opened)
        found = answers(asked, given.runs) | report(asked)
        if not given.keep:
            found |= cubes(asked)
    for name, each in found.items():
        sys.stderr.write(f"{name:<60} {each['value']:>10.3f} [{each['low']:.3f}, {each['high']:.3f}]\n")
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    told = {"benchmark": "desk", "users": asked.users, "metrics": found, "benchmark_mib": own}
    sys.stdout.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    main()
