"""The one door to Spark: a session, tables of the lake as it reads them, and rows handed to functions where they are.

Spark reads and writes the files that one machine does: what one engine has built the other one takes over. Every
machine must see the data folder under the same path.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from itertools import groupby, pairwise
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import ibis
import ibis.expr.types as ir
import numpy as np
import pandas as pd
import pyarrow as pa

from configs.errors import InputError
from configs.settings import Settings

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
Pieces = Iterator[pa.Table]
Item = TypeVar("Item")
Found = TypeVar("Found")


class SparkEngine:
    """What a history asks of its engine, answered by Spark, which reads clocks in the app's time zone."""

    def __init__(self, settings: Settings) -> None:
        self.session, self.pieces = open_session(settings), settings.spark.pieces
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
        self, files: str | Path | Sequence[Path], *, table_name: str, hive_partitioning: bool = False
    ) -> ir.Table:
        """Read files of the lake by their paths or a pattern, with the key of their partitions as a column or not."""
        paths = [str(files)] if isinstance(files, str | Path) else [str(path) for path in files]
        reader = self.session.read
        if hive_partitioning:
            reader = reader.option("basePath", address(Path(paths[0]).parents[1]))
        reader.parquet(*map(address, paths)).createOrReplaceTempView(table_name)
        return self.table(table_name)

    def frame(self, rows: ir.Table) -> DataFrame:
        """Read an expression as Spark's own frame."""
        return self.session.sql(str(ibis.to_sql(rows, dialect="pyspark")))

    def collect(self, rows: ir.Table) -> pd.DataFrame:
        """Bring the rows of an expression into this process."""
        table = self.frame(rows).toArrow()
        fields = [field.with_type(_in_utc(field.type)) for field in table.schema]
        days = {field.name: "datetime64[s]" for field in fields if pa.types.is_date(field.type)}
        return table.cast(pa.schema(fields)).to_pandas(date_as_object=False).astype(days)

    def write_days(
        self, rows: ir.Table, order: Sequence[str], days: int, write: Callable[[date, Pieces], object]
    ) -> set[date]:
        """Hand each day's rows, in order and without ``day``, to a function that runs where they are.

        Parameters
        ----------
        rows
            With a column ``day``.
        days
            How many days there are at most: each is written by one task.

        Returns
        -------
        The days that had rows.
        """
        fields = rows.schema().to_pyarrow()
        fields = pa.schema([field.with_type(_in_utc(field.type)).with_nullable(True) for field in fields])

        def write_each(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
            for day, pieces in by_day(pa.Table.from_batches([batch]).select(fields.names) for batch in batches):
                write(day, (piece.cast(fields).drop_columns("day") for piece in pieces))
                yield pa.record_batch({"day": pa.array([day], pa.date32())})

        placed = self.frame(rows).repartition(min(days, self.pieces), "day").sortWithinPartitions("day", *order)
        return {row.day for row in placed.mapInArrow(write_each, "day date").collect()}

    def map_pieces(
        self,
        rows: DataFrame,
        key: str,
        pieces: int,
        function: Callable[[int, pa.Table], pa.Table],
        fields: pa.Schema,
    ) -> pa.Table:
        """Cut rows into pieces by ranges of a key, and apply a function to each piece and its number where it is.

        Returns
        -------
        What the function returned for the pieces, in their order; `fields` are its columns. A piece without rows
        is left out.
        """
        from pyspark import TaskContext
        from pyspark.sql.pandas.types import from_arrow_schema

        def work(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
            found = list(batches)
            if found:
                number = TaskContext.get().partitionId()
                yield from function(number, pa.Table.from_batches(found)).cast(fields).to_batches()

        kept = rows.persist()  # to cut by ranges is to look at the rows twice
        placed = kept.repartitionByRange(pieces, key).sortWithinPartitions(key)
        found = placed.mapInArrow(work, from_arrow_schema(fields)).toArrow()
        kept.unpersist()
        return found

    def map_items(self, items: Sequence[Item], function: Callable[[Item], Found]) -> list[Found]:
        """Apply a function to each of a few items, on whatever machine is free."""
        return list(self.session.sparkContext.parallelize(items, max(len(items), 1)).map(function).collect())


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
    """Name a file or a pattern as Spark reads it."""
    return f"file://{path}"


def by_day(tables: Iterator[pa.Table]) -> Iterator[tuple[date, Pieces]]:
    """Group a stream sorted by its ``day`` column into the pieces of each day, holding one piece at a time.

    Examples
    --------
    >>> rows = pa.table({"day": [date(2024, 1, 1), date(2024, 1, 1), date(2024, 1, 2)]})
    >>> [(str(day), [len(piece) for piece in pieces]) for day, pieces in by_day(iter([rows, rows[2:]]))]
    [('2024-01-01', [2]), ('2024-01-02', [1, 1])]
    """
    return ((day, (piece for _, piece in found)) for day, found in groupby(_pieces(tables), itemgetter(0)))


def _pieces(tables: Iterator[pa.Table]) -> Iterator[tuple[date, pa.Table]]:
    for rows in tables:
        days = rows["day"].to_numpy()
        edges = [0, *(np.flatnonzero(days[1:] != days[:-1]) + 1).tolist(), len(rows)]
        for start, stop in pairwise(edges):
            if stop > start:
                yield rows["day"][start].as_py(), rows.slice(start, stop - start)


def _in_utc(kind: pa.DataType) -> pa.DataType:
    return pa.timestamp("us", "UTC") if pa.types.is_timestamp(kind) else kind
