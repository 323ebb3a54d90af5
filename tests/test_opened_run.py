"""How a run is opened: what a call says of it, whichever arguments are given by place and which by name."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from configs.errors import InputError
from features.storage.lake import Lake
from features.storage.writer_lock import LOCK_FILE
from flows import lookup
from flows.runs.opened_run import Asked, Question, writes_alone
from flows.runs.outcome import Outcome


def score(profile: str | None = "app", data_dir: str | None = None, as_of: date | None = None) -> Outcome:
    raise AssertionError


def renew(source: str, profile: str | None = None, data_dir: str | None = None, replace: bool = False) -> Outcome:
    raise AssertionError


def test_a_call_is_read_by_place_by_name_and_by_default() -> None:
    day = date(2024, 7, 1)
    assert Question.of(score).asked("shop", as_of=day) == Asked("shop", None, day, decides_a_day=True)
    assert Question.of(score).asked(data_dir="data") == Asked("app", "data", decides_a_day=True)
    assert Question.of(renew).asked("a.sql", None, "data", True) == Asked(None, "data", replace=True)


def test_a_flow_that_does_not_say_where_it_writes_is_refused_where_it_is_defined() -> None:
    def nowhere(folder: str) -> Outcome:
        raise AssertionError(folder)

    with pytest.raises(TypeError, match=r"nowhere needs .* it lacks \['data_dir', 'profile'\]"):
        writes_alone(nowhere)


def test_the_report_chooses_its_day_when_nobody_else_can_decide_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def newest(lake: Lake, day: date) -> date:
        raise InputError(lake.files.read(LOCK_FILE).decode())

    monkeypatch.setattr("serving.stored_days.day_tables.newest_decided_day", newest)
    with pytest.raises(InputError, match="winback report"):
        lookup.rewrite_report(None, str(tmp_path), None)
