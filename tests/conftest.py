"""Fixtures that several test modules share; the builders behind them are in apps.py."""

from __future__ import annotations

import atexit
import gc
import os
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import hypothesis
import nbformat
import pytest
from apps import App, tiny_app
from prefect_server import share_prefect_server
from sqlalchemy import Engine, event
from store_servers import Postgres, postgres_server, require_servers, s3_server

from configs.settings import DATA_DIR_VARIABLE, Settings
from configs.stores import DATABASE_VARIABLE, FILES_VARIABLE, Stores
from features.storage.kept_stores import keep_stores
from features.storage.lake import Lake
from flows.runs.environment import QUIET

# before LightGBM and Prefect are loaded: idle threads must not spin, and no run may touch the machine's own Prefect
os.environ.setdefault("GOMP_SPINCOUNT", "0")
os.environ.setdefault("TMPDIR", tempfile.gettempdir())  # as if the operator had set it: kills are played in one process
PREFECT = Path(tempfile.mkdtemp(prefix="prefect-"))
os.environ.update(QUIET | {"PREFECT_HOME": str(PREFECT)})
atexit.register(shutil.rmtree, PREFECT, ignore_errors=True)  # after Prefect, which writes at its end, too
share_prefect_server()

gc.disable()  # until all is imported: a million objects would be looked through again and again
REPOSITORY = Path(__file__).parents[1]
collect_ignore = ["chaos"]  # importing it leaves flows plain functions
LONGEST_FIRST = (
    "test_demo.py",
    "test_cli.py",
    "test_decisions.py",
    "test_snapshot_builder.py",
    "test_as_of_view.py",
    "test_closed_loop.py",
    "test_schedule.py",
    "test_world_policies.py",
    "test_uplift.py",
    "test_server.py",
    "test_report.py",
    "test_malformed_inputs.py",
    "test_policies.py",
    "test_ingest_source.py",
    "test_stored_snapshots.py",
    "test_starbucks.py",
    "test_population.py",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let statistical tests draw all their samples, and those run that have a smaller one beside them."""
    parser.addoption("--full", action="store_true", help="run the tests marked full, and draw all statistical samples")


def pytest_configure(config: pytest.Config) -> None:
    """Say how many examples Hypothesis draws where a test does not say it itself; each run draws others."""
    hypothesis.settings.register_profile(
        "winback", deadline=None, max_examples=100 if config.getoption("--full") else 20
    )
    hypothesis.settings.load_profile("winback")


def pytest_unconfigure() -> None:
    """Leave nothing among the system's temporary files."""
    shutil.rmtree(PREFECT, ignore_errors=True)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Start with the files that take longest, so that no worker is left with one of them at the end."""
    order = {name: place for place, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: order.get(item.path.name, len(order)))
    if config.getoption("--full"):
        return
    for item in items:
        if item.get_closest_marker("full"):
            item.add_marker(pytest.mark.skip(reason="make test-all runs it"))


def pytest_collection_finish() -> None:
    """Let what was imported never be looked through for garbage, and what tests make less often than usual."""
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    gc.enable()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what tests have to tell, from whichever process they ran in."""
    for report in terminalreporter.getreports("passed"):
        for text in (value for name, value in report.user_properties if name == "told"):
            terminalreporter.write_line(str(text))


@pytest.fixture(scope="session")
def full(pytestconfig: pytest.Config) -> bool:
    """Whether statistical tests draw all their samples."""
    return bool(pytestconfig.getoption("--full"))


@pytest.fixture(autouse=True, scope="session")
def _no_waiting_for_the_disk() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)  # no test pulls the plug
        event.listen(Engine, "connect", _waits_for_no_disk)
        yield
        event.remove(Engine, "connect", _waits_for_no_disk)


def _waits_for_no_disk(connection: object, _: object) -> None:
    if isinstance(connection, sqlite3.Connection):  # MLflow commits a training in hundreds of transactions
        connection.execute("PRAGMA synchronous = OFF")


@pytest.fixture(autouse=True, scope="session")
def _mlflow_makes_one_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Copy the first empty store that MLflow has made, as its migrations take a second of each."""
    utils = sys.modules.get("mlflow.store.db.utils")
    if utils is None:  # it takes seconds to import, and what was collected may not need it
        yield
        return
    make, pristine = utils._initialize_tables, tmp_path_factory.getbasetemp().parent / "mlflow.db"

    def copy(engine: Engine) -> None:
        if engine.dialect.name != "sqlite":
            make(engine)
        elif pristine.exists():
            _copy_database(pristine, Path(engine.url.database))
        else:
            make(engine)
            own = pristine.with_name(f"{uuid4().hex}.db")
            _copy_database(Path(engine.url.database), own)
            own.replace(pristine)  # of whichever worker comes last

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(utils, "_initialize_tables", copy)
        yield


def _copy_database(source: Path, target: Path) -> None:
    with closing(sqlite3.connect(source)) as one, closing(sqlite3.connect(target)) as other:
        one.backup(other)


@pytest.fixture(autouse=True, scope="session")
def _mlflow_looks_up_no_versions() -> Iterator[None]:
    """MLflow parses what is installed with each model that is kept, to warn of what the lock makes sure of."""
    environment = sys.modules.get("mlflow.utils.environment")
    with pytest.MonkeyPatch.context() as patch:
        if environment is not None:
            patch.setattr(environment, "warn_dependency_requirement_mismatches", lambda *_: None)
        yield


@pytest.fixture(autouse=True)
def _no_data_dir_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (DATA_DIR_VARIABLE, DATABASE_VARIABLE, FILES_VARIABLE):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def repository() -> Path:
    """Root of the repository."""
    return REPOSITORY


QUICK = """
import functools, configs.settings
whole = getattr(configs.settings.load_settings, "__wrapped__", configs.settings.load_settings)
few = {"trees": 20, "folds": 2, "bootstrap_samples": 100}
seldom = {"snapshot_every_days": 42}  # where a notebook takes snapshots of its own
configs.settings.load_settings = functools.wraps(whole)(
    lambda *words, training={}, features={}, **more: whole(
        *words, training={**training, **few}, features={**features, **seldom} if features else {}, **more
    )
)
"""


@pytest.fixture(scope="session")
def run_notebook(repository: Path, full: bool) -> Iterator[Callable[[str, Path], None]]:
    """Runner of a notebook on a data folder; one kernel serves all, emptied before each, as imports take longest.

    What a notebook trains has few trees and snapshots, unless tests are run in full.
    """
    from jupyter_client.manager import KernelManager
    from nbclient import NotebookClient

    def pictures(notebook: nbformat.NotebookNode) -> int:
        outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
        return sum("image/png" in output.get("data", {}) for output in outputs)

    def run(name: str, data_dir: Path) -> None:
        notebook = nbformat.read(repository / "notebooks" / f"{name}.ipynb", as_version=4)
        stored = pictures(notebook)
        assert stored >= 3, "the notebook is kept with its plots"
        empty = f"%reset -f\n%matplotlib inline\n%env {DATA_DIR_VARIABLE}={data_dir}"  # shap's pictures draw elsewhere
        notebook.cells.insert(0, nbformat.v4.new_code_cell(empty if full else empty + QUICK))
        resources = {"metadata": {"path": str(repository / "notebooks")}}
        client = NotebookClient(notebook, km=kernel, timeout=300, resources=resources)
        try:
            client.execute()
        finally:
            client.kc.stop_channels()
        assert pictures(notebook) == stored

    kernel = KernelManager(kernel_name="python3")
    yield run
    if kernel.has_kernel:
        kernel.shutdown_kernel(now=True)


@pytest.fixture(scope="session")
def copy_tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], App]:
    """Copier of the tiny app, ingested and aggregated, into a folder: cheap, and free to change."""
    app = tiny_app(tmp_path_factory.mktemp("pristine"))
    app.ingest()
    app.aggregate()
    return app.copy_to


@pytest.fixture(scope="session")
def tiny(copy_tiny: Callable[[Path], App], tmp_path_factory: pytest.TempPathFactory) -> App:
    """The tiny app that all tests share: add snapshots to it, change nothing."""
    return copy_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def tiny_settings(tiny: App) -> Settings:
    """Settings of the tiny app."""
    return tiny.settings


@pytest.fixture(scope="session")
def tiny_lake(tiny: App) -> Lake:
    """Lake of the tiny app, ingested and aggregated."""
    return tiny.lake


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """Lake whose MLflow store tests share, as making one takes seconds: register under a subject of your own."""
    from models.registry.tracking import connect  # MLflow takes seconds to import

    lake = Lake(tmp_path_factory.mktemp("registry"))
    connect(lake)
    return lake


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """PostgreSQL server that a test may stop and starts again."""
    require_servers()
    with postgres_server() as server:
        yield server


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """Address of an S3 server that holds the bucket ``winback``."""
    require_servers()
    with s3_server() as address:
        yield address


@pytest.fixture
def stores(postgres: Postgres, s3: str, monkeypatch: pytest.MonkeyPatch) -> Stores:
    """Database and place in the bucket of a test's own, to which its environment has the keys."""
    from features.stores.database import prepare

    keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
    for name, value in {"AWS_ENDPOINT_URL": s3, **keys}.items():
        monkeypatch.setenv(name, value)
    name = f"d{uuid4().hex}"
    own = Stores(database=postgres.database(name), files=f"s3://winback/{name}", wait_seconds=30)
    prepare(own)
    return own


@pytest.fixture
def team(stores: Stores, tmp_path: Path) -> Callable[[str], Lake]:
    """Maker of data folders that share these stores, each as on a machine of its own."""

    def machine(folder: str) -> Lake:
        keep_stores(tmp_path / folder, stores)
        return Lake(tmp_path / folder)

    return machine
