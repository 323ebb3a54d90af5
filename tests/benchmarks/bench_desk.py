"""How long a page of the desk takes to its first byte, a what-if to its answer, and what the application holds.

Bars: at 100,000 users 300 ms a page and 2 s a what-if, median, and 1 GiB; at a million 500 ms and 15 s. The users are
drawn, and decided by three small models; there are no events, so that a person's page reads none. The application runs
in a process of its own, as `winback app` does, and is asked over a socket.
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
from contextlib import closing
from multiprocessing import Process
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from desks import DAYS, SmallDesk, decided_desk
from timing import metric

from serving.cubes.day_cubes import write_cubes
from serving.desk.desk_app import serve
from serving.desk.desk_pages import Desk
from serving.desk.page_list import PAGES
from serving.desk.visitors import Door

PAGES_ASKED = (*PAGES, "people/u00005", "people?band=high&order=risk", "people?q=u0001")
WHAT_IF = ("what-if?budget_share=0.5", "what-if?budget_share=2", "what-if?cap_email=1000")


def serve_desk(small: SmallDesk, port: int) -> None:
    """Be the application, in a process of its own."""
    desk = Desk.of(small.settings, small.lake)
    serve(desk, Door(), socket.create_server(("127.0.0.1", port)))


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


def measure(users: int, runs: int, folder: Path) -> dict[str, dict[str, float]]:
    """Decide, add up, ask every page in turn."""
    small = decided_desk(
        folder, users=users, scoring={"budget": users / 20, "control_share": 0.05, "batch_users": 100_000}
    )
    cpu = time.process_time()
    write_cubes(small.settings, small.lake, DAYS[-1])
    found = {"cubes.cpu_seconds": metric([time.process_time() - cpu], users)}
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    process = Process(target=serve_desk, args=(small, port), daemon=True)
    process.start()
    for _ in range(600):
        with closing(socket.socket()) as asked:
            if asked.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.1)
    times: dict[str, list[float]] = {address: [] for address in (*PAGES_ASKED, *WHAT_IF)}
    taken: dict[str, list[float]] = {address: [] for address in times}
    for _ in range(runs):
        for address in times:
            before = cpu_seconds(process.pid or 0)
            times[address].append(first_byte(port, address))
            taken[address].append(cpu_seconds(process.pid or 0) - before)
    found |= {f"{address}.first_byte_seconds": metric(each, users) for address, each in times.items()}
    found |= {f"{address}.cpu_seconds": metric(each, users) for address, each in taken.items()}
    found["peak_mib"] = metric([peak_mib(process.pid or 0)], users)
    process.terminate()
    return found


def main() -> None:
    """Print a table for people and one object for machines."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--quick", action="store_true")
    asked = parser.parse_args()
    users = 5_000 if asked.quick else asked.users
    with tempfile.TemporaryDirectory() as folder:
        found = measure(users, asked.runs, Path(folder))
    for name, each in found.items():
        sys.stderr.write(f"{name:<50} {each['value']:>10.3f} [{each['low']:.3f}, {each['high']:.3f}]\n")
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    sys.stdout.write(json.dumps({"benchmark": "desk", "users": users, "metrics": found, "benchmark_mib": own}) + "\n")


if __name__ == "__main__":
    main()
