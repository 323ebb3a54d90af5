"""What is held of a user is said in words: every column of what a day decides, and of the ledger, has a meaning."""

from __future__ import annotations

from configs.named_files import FOLDER, read_toml
from features.ingestion.contract import CONTRACT
from serving.decide import decision_columns
from serving.stored_days import ledger
from serving.stored_days.day_tables import CAUSES


def test_every_column_that_a_decision_leaves_of_a_user_has_a_meaning() -> None:
    told = read_toml(FOLDER / "held_data.toml")["columns"]
    known = {*told, *(column.name for table in CONTRACT for column in table.columns)}
    assert {*decision_columns.SCHEMA.names, *ledger.SCHEMA.names, *CAUSES} - known == set()
