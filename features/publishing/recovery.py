"""How to recover a file that is damaged or missing: derived files are computed again, all others are restored."""

from __future__ import annotations

import re
from pathlib import Path

BACKUP = "restore it from a backup, as no step can write it again"
FROM_SOURCE = (
    "restore it from a backup; where the raw files still hold its rows, move it elsewhere and run winback ingest "
    "--replace, with --from and --to for its day"
)
WHOLE_FROM_SOURCE = (
    "restore it from a backup; where the raw files still hold its rows, move it elsewhere, run winback verify --accept "
    "{folder} and winback ingest"
)
DELETE = "delete it and "  # needs no saying of a file that is gone
FEATURES = "delete it and run winback build-features, which computes it again"
PROFILE = "delete it and name the profile with --profile, until winback ingest keeps it anew"
# by folder or file of the data folder; no step can write again what is not named here
RECOVERY_HINTS = {
    "events": FROM_SOURCE,
    "users": WHOLE_FROM_SOURCE,
    "aliases": WHOLE_FROM_SOURCE,
    "quarantine": WHOLE_FROM_SOURCE,
    "aggregates": FEATURES,
    "category_hour_counts": FEATURES,
    "snapshots": FEATURES,
    "checkpoint": "delete it and run winback build-features, which computes without it",
    "decisions": "restore it from a backup, or move it elsewhere and run winback score-users{as_of}, which writes the "
    "same again as long as nothing that it rests on has changed",
    "segments": "delete it and run winback score-users{as_of}, which writes it again",
    "audit": "delete it and run winback score-users{as_of}, which writes it again",
    "send_lists": "delete it and run winback send-list{as_of}, which writes it again",
    "reports": "delete it and run winback report{as_of}, which writes it again",
    "cubes": "delete it and run winback report{as_of}, which writes it again",
    "training": "delete it and run winback train-models{as_of}, which writes it again",
    "personas": "delete it and run winback train-models{as_of}, which writes it again",
    "tastes": "delete it and run winback train-models{as_of}, which writes it again",
    "measurements": "delete it and run winback measure-offers{as_of}, which writes it again",
    "truth": "simulate the app again in an empty folder",
    "closed_loop": "simulate the app again in an empty folder",
    "scoring": "delete it and run winback score-users, which goes on without it",
    "runs": "delete it; nothing rests on it",
    "offers.toml": "delete it and run winback ingest, which writes it again",
    "hashes.json": "delete it; the next winback build-features writes it again",
    "fingerprints.json": "delete it; the next winback build-features writes it again",
    "sessions.json": "delete it; the next winback build-features writes it again",
    "ends_of_offers.json": "delete it; the next winback score-users writes it again",
    "time_zone.txt": "write the time zone of the profile into it and run winback verify --accept time_zone.txt",
    "profile.json": PROFILE,
    "profile": PROFILE,
}


def recovery_hint(name: Path | str) -> str:
    """Say how a damaged or missing file is recovered, by its name in the data folder or by its path.

    Examples
    --------
    >>> recovery_hint("ledger/day=2024-07-01/20240701T000000Z-nightly.parquet")
    'restore it from a backup, as no step can write it again'
    >>> recovery_hint("reports/2024-07-01.html")
    'delete it and run winback report --as-of 2024-07-01, which writes it again'
    """
    day = re.search(r"(?:day=|reports/)(\d{4}-\d{2}-\d{2})", str(name))
    parts = (part for part in reversed(Path(name).parts) if part in RECOVERY_HINTS or part in ("ledger", "treatments"))
    folder = next(parts, "")
    return RECOVERY_HINTS.get(folder, BACKUP).format(as_of=f" --as-of {day[1]}" if day else "", folder=folder)
