"""What `make chaos` counts; `test_cli.py` runs some of its tries."""

from __future__ import annotations

from chaos.verdicts import Verdict, as_json, table_text


def test_every_finding_is_counted_and_told() -> None:
    verdicts = [Verdict("kill", "ingest 3", findings=["lost: a", "lost: b", "strays: c"], is_same=False)]
    verdicts += [Verdict("kill", "ingest 4", is_same=True), Verdict("disk full", "all", is_hit=False)]
    counts = as_json(verdicts, {"seconds": 1})["counts"]
    assert counts["kill"] == {
        "tries": 2, "hit": 2, "lost": 1, "double": 0, "partial": 0, "silent": 0, "traceback": 0, "strays": 1,
        "told": 0, "stand-in": 0, "same bytes": 1, "other bytes": 1,
    }  # fmt: skip
    assert counts["disk full"]["hit"] == 0
    assert "1x kill: lost: b [ingest 3]" in table_text(verdicts)
