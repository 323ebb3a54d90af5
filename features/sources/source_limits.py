"""Limits of a source script: its running time, and a process of its own for reads that could crash.

DuckDB detects the columns of JSON by recursion, and a document that is nested about ten thousand levels deep crashes
the process. A source that reads JSON is therefore tried in a separate process first.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread

import duckdb

from configs.errors import InputError
from configs.settings import Settings
from features.tables.duckdb_sessions import confined_session, sql_text

INTERRUPTED = "INTERRUPT Error"  # as DuckDB says it, also through Arrow
AGAIN_SECONDS = 0.5
CRASHES = (signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT)


def run_script(connection: duckdb.DuckDBPyConnection, raw: Path, text: str) -> None:
    """Run a source whose files lie in a raw folder."""
    connection.execute(f"SET VARIABLE raw = {sql_text(raw)}")  # a parameter would cost the import of pandas
    connection.execute(text)


@contextmanager
def interrupted_after(connection: duckdb.DuckDBPyConnection, minutes: float) -> Iterator[None]:
    """Let whatever a connection does longer than some minutes end in an error that holds `INTERRUPTED`."""
    is_done = Event()

    def interrupt() -> None:
        wait = 60.0 * minutes
        while not is_done.wait(wait):
            connection.interrupt()
            wait = AGAIN_SECONDS  # one that comes between two statements is forgotten

    watch = Thread(target=interrupt, daemon=True)
    watch.start()
    try:
        yield
    finally:
        is_done.set()
        watch.join()


def too_long(script: Path) -> InputError:
    """Say that a source was interrupted."""
    return InputError(
        f"source {script} takes longer than ingest.source_minutes allows; look for rows without end (range, a join "
        "without a condition), or allow more"
    )


def try_alone(settings: Settings, script: Path, text: str, readable: list[Path]) -> None:
    """Run a source that reads JSON in a process of its own, and see it survive; what it says there is left to itself.

    Raises
    ------
    InputError
        DuckDB crashed, or took too long.
    """
    if "json" not in text.lower():
        return
    asked = [settings.model_dump_json(), text, *map(str, readable)]
    try:
        ended = subprocess.run(  # noqa: S603 - our own interpreter and module
            [sys.executable, "-P", "-m", __name__], input="\0".join(asked).encode(), capture_output=True, check=False,
            timeout=60 * settings.ingest.source_minutes,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise too_long(script) from error
    if -ended.returncode in CRASHES:
        raise InputError(
            f"source {script} crashes DuckDB ({signal.Signals(-ended.returncode).name}): a JSON document that it reads "
            "is nested too deep for its columns to be guessed; name them, as in read_json(…, columns = {event_id: "
            "'VARCHAR', properties: 'JSON'}), or mend the file"
        )


def main() -> None:
    """Run the source that stands on standard input."""
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    known, text, *readable = sys.stdin.buffer.read().decode().split("\0")
    settings = Settings.model_validate_json(known)
    with suppress(duckdb.Error), confined_session(settings, [*map(Path, readable)]) as connection:
        run_script(connection, Path(readable[0]), text)


if __name__ == "__main__":
    main()
