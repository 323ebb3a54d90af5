"""Environment of the process, set before Prefect, MLflow or matplotlib is imported."""

from __future__ import annotations

import atexit
import ctypes
import gc
import logging
import os
import signal
import sys
import warnings
from pathlib import Path

from configs.progress import LOGGER
from configs.settings import load_settings
from configs.stores import Stores

# of malloc.h, by the variable of the operator that wins: M_ARENA_MAX, and in bytes M_MMAP_THRESHOLD, M_TRIM_THRESHOLD
MALLOPT = {
    "MALLOC_ARENA_MAX": (-8, 1),
    "MALLOC_MMAP_THRESHOLD_": (-3, 2**25),  # the most that glibc takes
    "MALLOC_TRIM_THRESHOLD_": (-1, 2**28),
}
PR_SET_PDEATHSIG = 1  # of prctl.h: the signal that a process gets when its parent ends
SCHEDULED_BY = "WINBACK_SCHEDULED_BY"  # process of the schedule, for the runs that it begins
QUIET = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_LOGGING_LEVEL": "CRITICAL",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    "PREFECT_LOGGING_LOGGERS_PREFECT_FLOW_RUNS_LEVEL": "INFO",  # these go to Prefect's page, not to the screen
    "PREFECT_LOGGING_LOGGERS_PREFECT_TASK_RUNS_LEVEL": "INFO",
    "PREFECT_LOGGING_EXTRA_LOGGERS": LOGGER,
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
    "PREFECT_API_REQUEST_TIMEOUT": "300",  # patience with a server that is busy
    "PREFECT_SERVER_DATABASE_TIMEOUT": "120",
    "PREFECT_SERVER_DATABASE_CONNECTION_TIMEOUT": "120",
    "PREFECT_CLI_WRAP_LINES": "false",
    "DO_NOT_TRACK": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}


def prepare(data_dir: str | None = None, profile: str | None = None, *, writes: bool = True) -> None:
    """Silence telemetry and chatter, and keep Prefect's own files in the data folder.

    What the operator has set in the environment wins. Whatever is written from here on its owner alone may read.

    Parameters
    ----------
    profile
        May name the data folder where `data_dir` does not.
    writes
        Whether the data folder is made where it is missing, and must be writable.

    Raises
    ------
    InputError
        The data folder cannot be written, or the profile that would name it cannot be used.
    """
    reuse_memory()
    os.umask(0o077)
    from features.storage.kept_stores import keep_stores
    from features.storage.lake import Lake
    from features.storage.new_folder import goes_if_unfilled

    folder = data_folder(profile, data_dir)
    if writes:
        goes_if_unfilled(folder)
    stores = keep_stores(folder, load_settings(profile, folder).stores)
    if writes:
        Lake(folder).files.require_writable()
    for name, value in {**QUIET, "PREFECT_HOME": str(folder / "prefect"), **_shared(stores)}.items():
        os.environ.setdefault(name, value)
    hush()
    atexit.register(gc.freeze)  # an ending process need not find its garbage: that takes a second or two


def _shared(stores: Stores) -> dict[str, str]:
    """Tell Prefect of the database, if there is one, and have its client wait for it."""
    if not stores.database:
        return {}
    from features.stores.database import ORCHESTRATION, prepare, sqlalchemy_address

    prepare(stores)
    return {
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": sqlalchemy_address(stores, ORCHESTRATION, "asyncpg"),
        "PREFECT_SERVER_DATABASE_SQLALCHEMY_CONNECT_ARGS_SEARCH_PATH": ORCHESTRATION,
        "PREFECT_CLIENT_RETRY_EXTRA_CODES": "500",  # its server's word for a database that does not answer
        "PREFECT_CLIENT_MAX_RETRIES": str(max(1, stores.wait_seconds).bit_length()),  # each waits twice as long
    }


def data_folder(profile: str | None, data_dir: str | None) -> Path:
    """Find the data folder of a run: the one that is named, else that of the profile."""
    return load_settings(None if data_dir else profile, Path(data_dir) if data_dir else None).data_dir


def reuse_memory() -> None:
    """Let memory that was freed be used by whoever needs some next: one heap for all threads, for NumPy and for Arrow.

    The usual allocators keep what is freed for the thread that freed it, and each library its own, while a day's work
    passes between many. What goes back to the system at once is paid for again with the next array, page by page: only
    the largest arrays do, and what lies free beyond some at the end of the heap.

    Arrow looks at its variable once, when it is imported: a process that has imported it keeps Arrow's own heap, those
    that it starts do not.
    """
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None  # of glibc
    if mallopt is not None:
        for option, value in (wish for name, wish in MALLOPT.items() if name not in os.environ):
            mallopt(option, value)


def end_with_schedule() -> None:
    """Let a run be killed with the schedule that began it: it could not say how it ended, and would be begun again.

    It could not even go on, as Prefect's server ends with the schedule. Nothing happens to a run that somebody else
    began, nor on systems other than Linux.
    """
    schedule = os.environ.get(SCHEDULED_BY)
    if schedule is None or sys.platform != "linux" or schedule != str(os.getppid()):
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL))
    if schedule != str(os.getppid()):  # it died meanwhile
        os.kill(os.getpid(), signal.SIGKILL)


def hush() -> None:
    """Keep the deprecations of libraries off the operator's screen; Feast shows them again when it is imported.

    What Prefect says of a run goes to its page alone. So do its events, of which nothing depends: where a server is too
    slow to take the last of them, a run that has ended well does not end in a traceback.
    """
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    for name in ("prefect.flow_runs", "prefect.task_runs", LOGGER):
        logging.getLogger(name).propagate = False
    logging.getLogger(LOGGER).setLevel(logging.INFO)
    logging.getLogger("EventsWorker").setLevel(logging.CRITICAL + 1)
