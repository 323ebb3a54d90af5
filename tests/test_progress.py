"""Long work: a bar for people and nothing for machines, and pieces side by side that keep their order."""

from __future__ import annotations

import json
import os
import sys
from datetime import datetime, timedelta
from functools import partial

import pytest

from configs.progress import announce, in_turn, track
from configs.run_identity import one_run, run_id


def test_without_a_terminal_progress_is_a_plain_loop(capsys):
    assert list(track(iter([1, 2]), "counting")) == [1, 2]
    assert capsys.readouterr() == ("", "")


def test_on_a_terminal_progress_goes_to_standard_error(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert list(track([1, 2], "counting", total=2)) == [1, 2]
    assert capsys.readouterr().out == ""


def test_work_in_turn_keeps_its_order_and_its_errors():
    assert list(in_turn([partial(pow, each, 2) for each in range(9)], 3)) == [each * each for each in range(9)]
    with pytest.raises(ZeroDivisionError):
        list(in_turn([partial(divmod, 1, number) for number in (1, 0, 2)], 2))


def test_lines_for_machines_name_the_run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("WINBACK_LOG", "json")
    with one_run():
        announce("reading events")
        name = run_id()
    line = json.loads(capsys.readouterr().err)
    assert (line["run"], line["message"], line["process"]) == (name, "reading events", os.getpid())
    assert datetime.fromisoformat(line["at"]).utcoffset() == timedelta(0)
