"""Progress: a bar for people, nothing for machines."""

from __future__ import annotations

import sys

from configs.progress import track


def test_without_a_terminal_progress_is_a_plain_loop(capsys):
    assert list(track(iter([1, 2]), "counting")) == [1, 2]
    assert capsys.readouterr() == ("", "")


def test_on_a_terminal_progress_goes_to_standard_error(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert list(track([1, 2], "counting", total=2)) == [1, 2]
    assert capsys.readouterr().out == ""
