"""Pins: ceilings in a moving stack, each with the small thing that breaks without it."""

from __future__ import annotations

import ast
import tomllib
from importlib.metadata import version
from pathlib import Path

import ibis
import pyarrow as pa
import pytest
from packaging.requirements import Requirement

REPOSITORY = Path(__file__).parents[1]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
DEPENDENCIES = [Requirement(text) for text in PROJECT["project"]["dependencies"]]
LOCK = (REPOSITORY / "requirements.lock").read_text(encoding="utf-8")
PACKAGES = ("configs", "features", "models", "serving", "flows")
IMPORT_NAMES = {"ibis-framework": "ibis", "pyyaml": "yaml", "scikit-learn": "sklearn"}
CEILINGS = {
    "fastapi": "0.155 breaks every Prefect flow run",
    "sqlalchemy": "2.1: Prefect's cron deployments never fire",
    "sqlglot": "30 breaks the create_table of ibis 12",
}


@pytest.mark.parametrize("requirement", DEPENDENCIES, ids=lambda requirement: requirement.name)
def test_what_is_installed_satisfies_the_pin(requirement):
    assert requirement.specifier.contains(version(requirement.name)), requirement


@pytest.mark.parametrize(
    ("name", "broken"),
    [
        ("fastapi", "0.155.0"),
        ("fastapi", "0.151.0"),
        ("sqlalchemy", "2.1.0"),
        ("duckdb", "2.0.0"),
        ("sqlglot", "30.0.0"),
        ("numba", "0.47.0"),
        ("pandas", "3.0.0"),
    ],
)
def test_a_version_known_to_break_the_stack_is_ruled_out(name, broken):
    pins = [requirement for requirement in DEPENDENCIES if requirement.name == name]
    assert pins and not any(pin.specifier.contains(broken) for pin in pins)


def test_sqlglot_ibis_creates_lists_and_drops_a_table():
    engine = ibis.duckdb.connect()
    table = engine.create_table("numbers", pa.table({"a": [1, 2]}))
    assert engine.list_tables() == ["numbers"]
    assert table.a.sum().execute() == 3
    engine.drop_table("numbers")
    assert engine.list_tables() == []


def test_duckdb_ibis_reads_sql_tables_and_batches():
    engine = ibis.duckdb.connect()
    engine.create_table("numbers", pa.table({"a": [1, 2, 3]}))
    assert engine.sql("SELECT sum(a) AS total FROM numbers").to_pandas().total.tolist() == [6]
    batches = engine.to_pyarrow_batches(engine.table("numbers").order_by("a"), chunk_size=2)
    assert [number for batch in batches for number in batch["a"].to_pylist()] == [1, 2, 3]


def test_numba_compiles():
    from numba import njit

    assert njit(lambda number: number + 1)(1) == 2


def test_the_lock_holds_no_address_and_no_option():
    assert "http://" not in LOCK and "https://" not in LOCK
    assert [line for line in LOCK.splitlines() if line.startswith("-") or " @ " in line] == []


def test_the_lock_satisfies_every_pin():
    locked = [Requirement(line) for line in LOCK.splitlines() if line]
    groups = [Requirement(text) for group in PROJECT["dependency-groups"].values() for text in group]
    for wanted in (*DEPENDENCIES, *groups):
        found = [line for line in locked if line.name == wanted.name]
        assert found, f"{wanted.name} is not locked; run make lock"
        for line in found:
            (exact,) = line.specifier
            assert wanted.specifier.contains(exact.version), f"{line} does not meet {wanted}; run make lock"


def test_every_dependency_is_imported_or_listed_as_a_ceiling():
    imported = {name for package in PACKAGES for path in (REPOSITORY / package).rglob("*.py") for name in imports(path)}
    unused = [
        requirement.name
        for requirement in DEPENDENCIES
        if IMPORT_NAMES.get(requirement.name, requirement.name) not in imported
    ]
    assert set(unused) <= set(CEILINGS)


def imports(path: Path) -> set[str]:
    """Top-level modules that a file imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    return names
