"""The version of the code: covers everything that can change a value, and nothing that cannot."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from features.tables import code_version as module
from features.tables.code_version import code_version, import_closure


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of two modules, the one importing the other, both read anew at every question."""
    monkeypatch.setattr(module, "REPOSITORY", tmp_path)
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "upper.py").write_text("from app.lower import answer\n\nTWICE = 2 * answer()\n")
    (tmp_path / "app" / "lower.py").write_text("def answer():\n    return 21\n")
    return tmp_path / "app"


def forget() -> None:
    module.code_version.cache_clear()
    module._tree.cache_clear()
    module._syntax.cache_clear()


def version() -> str:
    forget()
    return code_version("app.upper")


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    yield
    forget()


def test_a_change_in_what_is_imported_is_noticed(made):
    before = version()
    (made / "lower.py").write_text("def answer():\n    return 22\n")
    assert version() != before


def test_words_about_the_code_and_its_formatting_change_nothing(made):
    before = version()
    (made / "lower.py").write_text(
        '"""Answers."""\n\n\ndef answer():\n    """Tell."""\n    return (  # why\n        21\n    )\n'
    )
    assert version() == before


def test_what_only_type_checkers_read_is_left_out(made):
    before = version()
    (made / "lower.py").write_text("if TYPE_CHECKING:\n    from app import far\n\n\ndef answer():\n    return 21\n")
    assert version() == before


@pytest.mark.parametrize(
    ("by", "what"),
    [
        ("build_daily", ("storage.lake", "tables.fingerprints", "engine.daily_aggregation", "arrays.calendar_days")),
        ("build_snapshots", ("engine.users_reader", "engine.state_store", "storage.lake", "tables.parquet_files")),
    ],
)
def test_readers_state_store_and_lake_are_part_of_what_computes(by, what):
    assert {f"features.{name}" for name in what} <= import_closure(f"features.materialise.{by}")
