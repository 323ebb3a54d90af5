"""A build that is killed leaves nothing for ever: the next one ends in the bytes of one that nobody disturbed."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import date

from apps import App, event, small_app
from test_publication import killed_at

from features.materialise.build_snapshots import build_snapshots

DAYS = [date(2024, 3, 6), date(2024, 3, 7)]
EVENTS = [event(user, f"2024-03-0{day} 10:00", "purchase", amount=1.0) for user in "abc" for day in range(1, 7)]
# looked at by the times at which files changed, and what lists it
OF_TIMES = {"hashes.json", "fingerprints.json", "sessions.json", "manifest.json"}


def build(app: App) -> None:
    with app.lake.files.lock("build"):
        app.aggregate()
        with app.history(DAYS[-1]) as history:
            build_snapshots(history, DAYS)


def counted(call: Callable[..., None], calls: list[object]) -> Callable[..., None]:
    def made(*given: object) -> None:
        calls.append(given)
        call(*given)

    return made


def tree(app: App) -> dict[str, bytes]:
    root = app.lake.root
    found = {path.relative_to(root).as_posix(): path for path in root.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in found.items() if name not in OF_TIMES}


def test_wherever_a_build_is_killed_the_next_one_ends_in_the_same_bytes_without_strays(tmp_path, monkeypatch):
    app = small_app(tmp_path / "app", events=EVENTS)
    app.ingest()
    undisturbed = app.copy_to(tmp_path / "undisturbed")
    moves: list[object] = []
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", counted(os.replace, moves))
        build(undisturbed)
    wanted = tree(undisturbed)
    assert {name.split("/")[0] for name in wanted} >= {"aggregates", "category_hour_counts", "snapshots", "checkpoint"}
    for nth in (1, len(moves) // 2, len(moves) - 3):
        killed = app.copy_to(tmp_path / str(nth))
        assert killed_at(monkeypatch, nth, lambda killed=killed: build(killed), ("replace",))
        build(killed)
        assert tree(killed) == wanted, nth
        assert not (killed.lake.root / ".publish").exists()
        assert killed.lake.files.unlisted() == []
