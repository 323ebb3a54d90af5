"""The one door to Spark: its session, the executor that runs the array functions on its machines, tables for Ibis.

Spark's tasks read and write the files that one machine does, by the same functions: what one executor has built the
other one takes over. Every machine must see the data folder under the same path.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from uuid import uuid4

import ibis
import ibis.expr.types as ir
import pandas as pd
import pyarrow as pa

from configs.errors import InputError
from configs.settings import Settings
from features.engine.state_store import CheckpointError
from features.storage.local_folder import LocalFolder
from features.storage.whole_writes import scratch_folder

if TYPE_CHECKING:
    from pyspark.sql import DataFrame as DataFrame
    from pyspark.sql import SparkSession

PROPERTIES = {
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
    "spark.sql.execution.arrow.pyspark.enabled": "true",
    "spark.sql.execution.arrow.maxRecordsPerBatch": "50000",
    # what holds all columns of a snapshot is longer than Java compiles by itself
    "spark.driver.extraJavaOptions": "-XX:-DontCompileHugeMethods",
    "spark.executor.extraJavaOptions": "-XX:-DontCompileHugeMethods",
    "spark.ui.enabled": "false",
}
LOCAL = {"spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1"}
ZONE = "spark.sql.session.timeZone"
INSTALL = "Spark is not installed; run make spark, or install winback[spark]"
Item = TypeVar("Item")
Found = TypeVar("Found")


class SparkEngine:
    """What a history asks of its engine, answered by Spark, which reads clocks in the app's time zone."""

    def __init__(self, settings: Settings) -> None:
        self.session = open_session(settings)
        self._ibis = ibis.pyspark.connect(self.session)
        self.session.conf.set(ZONE, settings.time_zone)  # Ibis has set it to UTC

    def table(self, name: str) -> ir.Table:
        """Find a table by its name."""
        return self._ibis.table(name)

    def create_table(self, name: str, *, obj: pa.Table, temp: bool = True, overwrite: bool = True) -> ir.Table:
        """Give rows of this process a name that queries can use."""
        if not (temp and overwrite):
            raise NotImplementedError("the tables of a session are temporary, and a new one replaces the old")
        self.session.createDataFrame(obj).createOrReplaceTempView(name)
        return self.table(name)

    def read_parquet(
        self, files: str | Path | Sequence[Path], *, table_name: str, hive_partitioning: bool = False,
        union_by_name: bool = False,
    ) -> ir.Table:  # fmt: skip
        """Read files of the lake by their paths or a pattern, with the key of their partitions as a column or not.

        With `union_by_name` a file may lack columns that others have.
        """
        paths = [str(files)] if isinstance(files, str | Path) else [str(path) for path in files]
        reader = self.session.read.option("mergeSchema", union_by_name)
        if hive_partitioning:
            reader = reader.option("basePath", address(Path(paths[0]).parents[1]))
        reader.parquet(*map(address, paths)).createOrReplaceTempView(table_name)
        return self.table(table_name)

    def frame(self, rows: ir.Table) -> DataFrame:
        """Read an expression as Spark's own frame."""
        return self.session.sql(str(ibis.to_sql(rows, dialect="pyspark")))

    def arrow(self, rows: ir.Table) -> pa.Table:
        """Bring the rows of an expression into this process."""
        table = self.frame(rows).toArrow()
        return table.cast(pa.schema([field.with_type(_in_utc(field.type)) for field in table.schema]))

    def collect(self, rows: ir.Table) -> pd.DataFrame:
        """Bring the rows of an expression into this process, as a frame."""
        table = self.arrow(rows)
        days = {field.name: "datetime64[s]" for field in table.schema if pa.types.is_date(field.type)}
        return table.to_pandas(date_as_object=False).astype(days)


@dataclass(frozen=True)
class SparkExecutor:
    """Spark's machines, all of which see the data folder: a task finds the files of its items there by itself.

    Items are shared out among at most `pieces` tasks: a task of Spark's own costs more CPU than a small day.
    """

    session: SparkSession
    scratch: Path
    pieces: int

    def each(self, work: Callable[[Item], Found], items: Sequence[Item]) -> Iterator[Found]:
        """Yield what the work finds in each item, all of it when the last is done.

        Raises
        ------
        InputError, CheckpointError
            As the work raises them; whatever else goes wrong is tried again by Spark.
        """

        def attempted(item: Item) -> Found | Exception:
            try:
                return work(item)
            except (InputError, CheckpointError) as error:
                return error

        tasks = self.session.sparkContext.parallelize(items, max(min(len(items), self.pieces), 1))
        for found in tasks.map(attempted).collect():
            if isinstance(found, InputError | CheckpointError):
                raise found
            yield found

    def batches(
        self,
        work: Callable[[Item], tuple[Found, list[pa.RecordBatch]]],
        items: Sequence[Item],
        *,
        is_light: bool,  # noqa: ARG002 - machines have nothing else to do
    ) -> Iterator[tuple[Found, Iterable[pa.RecordBatch]]]:
        """Yield what the work finds in each item; rows lie in a file until they are asked for."""
        with scratch_folder(self.scratch) as folder:

            def spooled(item: Item) -> tuple[Found, Path]:
                found, batches = work(item)
                path = folder / f"{uuid4().hex}.arrow"
                with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, batches[0].schema) as file:
                    for batch in batches:
                        file.write_batch(batch)
                return found, path

            for found, path in self.each(spooled, items):
                yield found, _spooled_batches(path)


def spark_machines(settings: Settings) -> SparkExecutor:
    """Take the executor of this process's session, which is started if there is none."""
    return SparkExecutor(open_session(settings), settings.data_dir / "tmp", settings.spark.pieces)


def _spooled_batches(path: Path) -> Iterator[pa.RecordBatch]:
    with pa.memory_map(str(path)) as source:
        file = pa.ipc.open_file(source)
        for number in range(file.num_record_batches):
            yield file.get_batch(number)
    LocalFolder(path.parent).remove(path.name)


def open_session(settings: Settings) -> SparkSession:
    """Start Spark, or take the session that this process has.

    Raises
    ------
    InputError
        PySpark is not installed, or Spark does not start.
    """
    try:
        from pyspark.errors import PySparkRuntimeError
        from pyspark.sql import SparkSession
    except ImportError as error:
        raise InputError(INSTALL) from error
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    builder = SparkSession.builder.appName("winback")
    for name, value in _properties(settings).items():
        builder = builder.config(name, value)
    try:
        session = builder.getOrCreate()
    except PySparkRuntimeError as error:
        raise InputError(f"Spark did not start ({error}); it needs Java 17 or 21, see java -version") from error
    session.sparkContext.setLogLevel("ERROR")
    return session


def _properties(settings: Settings) -> dict[str, str]:
    spark = settings.spark
    own = {
        "spark.driver.memory": spark.driver_memory,
        "spark.sql.shuffle.partitions": str(spark.pieces),
        "spark.local.dir": str(settings.data_dir / "tmp"),
        "spark.sql.warehouse.dir": str(settings.data_dir / "tmp" / "warehouse"),
        "spark.ui.showConsoleProgress": str(sys.stderr.isatty()).lower(),
    }
    where = {"spark.master": spark.master} if spark.master else {}
    return PROPERTIES | own | where | (LOCAL if spark.master.startswith("local") else {}) | spark.options


@contextmanager
def in_utc() -> Iterator[None]:
    """Let the session of this process read instants that name no zone as UTC."""
    from pyspark.sql import SparkSession

    session = SparkSession.active()
    zone = session.conf.get(ZONE)
    session.conf.set(ZONE, "UTC")
    try:
        yield
    finally:
        session.conf.set(ZONE, zone)


def address(path: Path | str) -> str:
    """Name a file or a pattern as Spark reads it.

    Raises
    ------
    InputError
        A folder has a sign that Spark takes for a pattern.
    """
    if re.search(r"[][{}?*]", str(path).replace("=*/", "/")):
        raise InputError(f"Spark takes [, ], {{, }}, * and ? in {path} for a pattern; choose another --data-dir")
    return f"file://{path}"


def _in_utc(kind: pa.DataType) -> pa.DataType:
    return pa.timestamp("us", "UTC") if pa.types.is_timestamp(kind) else kind
