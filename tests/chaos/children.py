"""Commands in processes of their own: forks of this one, which has imported everything and runs no command itself."""

from __future__ import annotations

import importlib
import mmap
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import partial
from pathlib import Path

import prefect
import prefect.artifacts
from mlflow.utils import environment, requirements_utils

from chaos.faults import Fault, FileOperations, number_in

NO_FAULT = Fault()
PATIENCE = 3600.0  # seconds, after which a command hangs: the machine may have much else to do


def _plain(function: Callable[..., object] | None = None, name: str = "", **_: object) -> Callable[..., object]:
    """Leave flows and tasks the functions that they are: no server is needed to run them."""
    if function is None:
        return partial(_plain, name=name)
    function.name = name  # type: ignore[attr-defined]
    return function


prefect.flow = prefect.task = _plain
prefect.artifacts.create_markdown_artifact = prefect.artifacts.create_link_artifact = lambda *_, **__: None

from features.materialise import build_daily, build_snapshots  # noqa: E402
from features.tables.code_version import code_version  # noqa: E402
from flows import (  # noqa: E402 - only now
    build_features,
    cli,
    ingest,
    lookup,
    measure_offers,
    scheduled_runs,
    score_users,
    train_models,
)
from models.champion_gate import promotion  # noqa: E402

FLOWS = (build_features, ingest, lookup, measure_offers, scheduled_runs, score_users, train_models)
OURS = ("configs", "features", "models", "serving", "flows")
VERSIONED = (build_daily.__name__, build_snapshots.__name__)
OPERATIONS = FileOperations()
promotion.quality_pictures = lambda *_: {}  # they take most of a small training
environment.warn_dependency_requirement_mismatches = lambda _: None  # a tenth of it, of each of its models


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit code, or minus the signal that ended it; what it said; what it took."""

    command: str
    code: int
    said: str
    seconds: float
    operations: int


class Child:
    """A command that runs in a fork of this process."""

    def __init__(
        self, command: str, *words: str, data: Path, fault: Fault = NO_FAULT, behind: timedelta | None = None,
        environment: Mapping[str, str] = {}, modules: Path | None = None,
    ) -> None:  # fmt: skip
        self.command, self.words, self.began = command, [command, *words], time.monotonic()
        self.made = mmap.mmap(-1, 8)
        self.log = Path(tempfile.gettempdir(), f"chaos-{os.getpid()}-{time.monotonic_ns()}.log")
        sys.stdout.flush()
        self.pid = os.fork()
        if not self.pid:
            try:
                os.environ.update(environment)
                self._run([command, *words, "--data-dir", str(data)], data, fault, behind, modules)
            finally:
                os._exit(70)

    def _run(self, words: list[str], data: Path, fault: Fault, behind: timedelta | None, modules: Path | None) -> None:
        log = os.open(self.log, os.O_WRONLY | os.O_CREAT)
        for stream in (1, 2):
            os.dup2(log, stream)
        if behind is not None:
            set_clock_back(behind)
        code = 1
        OPERATIONS.arm(data, fault, self.made)
        try:
            code = run_command(words)
        except BaseException:
            traceback.print_exc()
        OPERATIONS.root = ""
        with suppress(BaseException):
            sys.stdout.flush()
            sys.stderr.flush()
        if modules is not None:
            modules.write_text("\n".join(sys.modules))
        os._exit(code)

    def kill(self) -> None:
        """End it at once, with all its threads."""
        os.kill(self.pid, signal.SIGKILL)

    def ended(self, patience: float = PATIENCE) -> Ended | None:
        """Wait for its end; None where it has not come within some seconds."""
        until = time.monotonic() + patience
        while True:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                break
            if time.monotonic() >= until:
                return None
            time.sleep(0.002)
        code, said = os.waitstatus_to_exitcode(status), self.log.read_text(errors="replace")
        self.log.unlink()
        return Ended(self.command, code, said, time.monotonic() - self.began, number_in(self.made))


def run_command(words: list[str]) -> int:
    """Run the command line, or a flow of the schedule, and return the exit code."""
    if words[0] == "score-daily":
        given = dict(zip(words[1::2], words[2::2], strict=True))
        scheduled_runs.ingest = partial(ingest.ingest, raw=given["--raw"])
        scheduled_runs.score_daily(None, given["--data-dir"], date.fromisoformat(given["--as-of"]))
        return 0
    sys.argv = ["winback", *words]
    try:
        cli.main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def run(command: str, *words: str, data: Path, **options: object) -> Ended:
    """Run a command to its end; one that hangs is killed, which its code says."""
    child = Child(command, *words, data=data, **options)  # type: ignore[arg-type]
    ended = child.ended()
    if ended is None:
        child.kill()
        ended = child.ended()
    assert ended is not None
    return ended


def warm_up(modules: Path) -> None:
    """Import what commands imported while they ran, and find out what each would of the code, for those after them."""
    for name in modules.read_text().splitlines():
        with suppress(BaseException):
            importlib.import_module(name)
    requirements_utils._init_modules_to_packages_map()
    for name in VERSIONED:
        code_version(name)


def set_clock_back(behind: timedelta) -> None:
    """Let winback's modules see an earlier time; what measures seconds goes on as before."""

    class AnyInstant(type):
        def __instancecheck__(cls, value: object) -> bool:
            return isinstance(value, datetime)

    class Behind(datetime, metaclass=AnyInstant):
        @classmethod
        def now(cls, tz: object = None) -> datetime:
            return datetime.now(tz) - behind  # type: ignore[arg-type]

    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in OURS and getattr(module, "datetime", None) is datetime:
            module.datetime = Behind  # type: ignore[attr-defined]
