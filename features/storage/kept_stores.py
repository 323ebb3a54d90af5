"""Which shared stores a data folder is a copy of; stored in it without secrets."""

from __future__ import annotations

import json
from pathlib import Path

from configs.errors import InputError
from configs.stores import EMBEDDED, Stores
from features.storage.whole_writes import write_text

STORES_FILE = "stores.json"


def stores_of(root: Path) -> Stores:
    """Read which stores a data folder is a copy of; `EMBEDDED` where it is one alone.

    Raises
    ------
    InputError
        What is kept cannot be read.
    """
    path = root / STORES_FILE
    try:
        return Stores.model_validate_json(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return EMBEDDED
    except (ValueError, OSError) as error:
        raise InputError(
            f"{path} cannot be read, so that nobody knows which stores it is a copy of; delete it, and name them by "
            "[stores] of the profile or in the environment"
        ) from error


def keep_stores(root: Path, asked: Stores) -> Stores:
    """Let a data folder be a copy of some stores from now on, if any are asked for; returns which it is a copy of.

    Raises
    ------
    InputError
        It is a copy of others.
    """
    kept = stores_of(root)
    if not asked.database or asked == kept:
        return kept
    where = (kept.database, kept.files)
    if kept.database and where != (asked.database, asked.files):
        raise InputError(
            f"{root} is a copy of {' and '.join(filter(None, where))}, and [stores] or the environment names "
            f"{' and '.join(filter(None, (asked.database, asked.files)))}; choose another --data-dir"
        )
    root.mkdir(parents=True, exist_ok=True)
    write_text(root / STORES_FILE, json.dumps(asked.model_dump(), indent=1))
    return asked
