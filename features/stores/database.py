"""PostgreSQL: connections that wait for a server that is away. Only this module imports its driver.

MLflow and Feast connect through SQLAlchemy, and are made to wait, too. Each framework has a schema of its own in one
database, because two of them use the same table name.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar
from urllib.parse import quote

from configs.errors import InputError, first_line
from configs.progress import announce
from configs.stores import EXTRA, Stores, with_password

if TYPE_CHECKING:
    from psycopg import Connection

SCHEMA, TRACKING, ORCHESTRATION, REGISTRY = "winback", "mlflow", "prefect", "feast"
POLL_SECONDS = 1.0
ANSWERS_WITHIN = 10  # seconds, of one try to connect
# of a server that will not let us in, however long we wait
HOPELESS = ("authentication failed", "no password supplied", "does not exist", "no pg_hba.conf entry", "not permitted")
# a client whose machine is gone is noticed within a minute, and its lock is free again
KEPT_ALIVE = {"tcp_keepalives_idle": 30, "tcp_keepalives_interval": 10, "tcp_keepalives_count": 3}
AWAY = {"OperationalError", "InterfaceError", "ConnectionDoesNotExistError", "CannotConnectNowError"}
DRIVERS = ("psycopg", "asyncpg")
Found = TypeVar("Found")


class StoreAwayError(InputError):
    """A store does not answer; a later try may succeed, so that it has the exit code of a folder that is locked."""

    exit_code = 3


def sqlalchemy_address(stores: Stores, schema: str, driver: str = "psycopg") -> str:
    """Write the database's address for SQLAlchemy, whose tables lie in a schema; its password is in it, if we have one.

    SQLAlchemy's sessions of this process wait for the server from now on, as ours do.

    Examples
    --------
    >>> stores = Stores(database="postgresql://ana@db/winback", files="", wait_seconds=1)
    >>> sqlalchemy_address(stores, "mlflow")
    'postgresql+psycopg://ana@db/winback?options=-csearch_path%3Dmlflow'
    """
    _let_sqlalchemy_wait(stores)
    address = with_password(stores.database).replace("postgresql://", f"postgresql+{driver}://", 1)
    return f"{address}?options={quote(f'-csearch_path={schema}')}" if driver == "psycopg" else address


def connect(stores: Stores, *, wait_seconds: float | None = None) -> Connection:
    """Open a session, each of whose statements counts at once; waits for a server that does not answer.

    Raises
    ------
    StoreAwayError
        It does not answer for `wait_seconds`, else for as long as the settings say.
    InputError
        It refuses us, or the driver is not installed.
    """
    require_driver("psycopg")
    import psycopg

    def opened() -> Connection:
        return psycopg.connect(
            with_password(stores.database), autocommit=True, connect_timeout=ANSWERS_WITHIN, application_name="winback"
        )

    session = waiting_for(opened, stores, wait_seconds)
    for name, value in KEPT_ALIVE.items():
        session.execute(f"SET {name} = {value}")
    return session


def waiting_for(ask: Callable[[], Found], stores: Stores, wait_seconds: float | None = None) -> Found:
    """Ask a server until it answers, or the patience with it ends; what asking raises otherwise is raised."""
    patience = stores.wait_seconds if wait_seconds is None else wait_seconds
    ends, is_told = time.monotonic() + patience, False
    while True:
        try:
            return ask()
        except Exception as error:
            if not is_away(error) or any(sign in str(error) for sign in HOPELESS) or time.monotonic() >= ends:
                _refuse(stores, error)
            if not is_told:
                announce(f"waiting for up to {patience:.0f} s for {stores.database}: {first_line(error)}")
                is_told = True
        time.sleep(POLL_SECONDS)


def query(stores: Stores, statements: Mapping[str, str], schema: str) -> dict[str, list[tuple[Any, ...]]]:
    """Answer questions to the tables of a schema, by name, from one state; nothing where the tables are not there.

    Raises
    ------
    StoreAwayError
        The database does not answer.
    """
    require_driver("psycopg")
    import psycopg

    with connect(stores) as session:
        session.execute(f"SET search_path = {schema}")
        try:
            with session.transaction():
                session.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
                return {name: session.execute(text).fetchall() for name, text in statements.items()}
        except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
            return {name: [] for name in statements}


def prepare(stores: Stores) -> None:
    """Make the schemas where they are missing."""
    with connect(stores) as session:
        for schema in (SCHEMA, TRACKING, ORCHESTRATION, REGISTRY):
            known = "SELECT 1 FROM pg_namespace WHERE nspname = %s"
            if not session.execute(known, [schema]).fetchone():  # whoever may not make one may use one
                session.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}")


@cache
def _let_sqlalchemy_wait(stores: Stores) -> None:
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    @event.listens_for(Engine, "do_connect")
    def _connect(dialect: Any, _: object, words: Sequence[Any], named: dict[str, Any]) -> Any:  # noqa: ANN401
        if dialect.name != "postgresql" or dialect.driver != "psycopg":
            return None
        return waiting_for(lambda: dialect.connect(*words, **named), stores)


@contextmanager
def named_when_away(stores: Stores) -> Iterator[None]:
    """Turn what any library says of a database that went away into one sentence.

    Raises
    ------
    StoreAwayError
        The database went away inside the block.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        told: BaseException | None = error
        while told is not None:  # libraries wrap each other's errors
            if is_away(told):
                _refuse(stores, told)
            told = told.__cause__ or told.__context__
        raise


def is_away(error: BaseException) -> bool:
    """Tell whether an error says that a server does not answer, or no more."""
    kinds = type(error).__mro__
    return any(kind.__name__ in AWAY and kind.__module__.startswith(DRIVERS) for kind in kinds)


def require_driver(module: str) -> None:
    """Refuse to go on without a driver.

    Raises
    ------
    InputError
        It is not installed.
    """
    if importlib.util.find_spec(module) is None:
        raise InputError(f"[stores] needs the Python package {module!r}, which is not installed; {EXTRA}")


def _refuse(stores: Stores, error: BaseException) -> NoReturn:
    said = first_line(error) if isinstance(error, Exception) else str(error)
    if not is_away(error):
        raise error
    if any(sign in str(error) for sign in HOPELESS):
        raise InputError(
            f"{stores.database} lets us not in ({said}); mend [stores], or the password in PGPASSWORD or "
            "WINBACK_DATABASE_URL"
        ) from error
    raise StoreAwayError(
        f"{stores.database} does not answer ({said}); what was published before is untouched: run the command again "
        "when it does"
    ) from error
