"""Small objects that no manifest lists, as they are written without the lock: each holds a digest of itself."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

SEAL = "sha256"
BEGINS = f'{{"{SEAL}": "'.encode()
OLDER_BEGINS = b'{"run": "'  # as records of runs began before there were seals


def sealed(name: str, content: Mapping[str, object]) -> bytes:
    """Write an object that is kept under a name, with the SHA-256 of both.

    Examples
    --------
    >>> unsealed("runs/1.json", sealed("runs/1.json", {"run": "1", "ended": None}))
    {'run': '1', 'ended': None}
    >>> unsealed("runs/2.json", sealed("runs/1.json", {"run": "1"}))
    Traceback (most recent call last):
        ...
    ValueError: runs/2.json is not what was written
    """
    return json.dumps({SEAL: _digest(name, content), **content}).encode()


def unsealed(name: str, stored: bytes) -> dict[str, Any]:
    """Read an object back; one of before there were seals is taken as it is.

    Raises
    ------
    ValueError
        It is not what was written under this name.
    """
    content = json.loads(stored)
    if stored.startswith(OLDER_BEGINS):
        return dict(content)
    if not stored.startswith(BEGINS) or content.pop(SEAL) != _digest(name, content):
        raise ValueError(f"{name} is not what was written")
    return dict(content)


def resealed(name: str, before: bytes, after: bytes) -> bytes:
    """Seal anew what somebody changed on purpose; what was no sealed object before is left as it is.

    Examples
    --------
    >>> kept = sealed("runs/1.json", {"reason": "ana is unknown"})
    >>> unsealed("runs/1.json", resealed("runs/1.json", kept, kept.replace(b"ana", b"somebody")))
    {'reason': 'somebody is unknown'}
    """
    try:
        unsealed(name, before)
        content = json.loads(after)
        content.pop(SEAL)
    except (ValueError, TypeError, AttributeError, KeyError):
        return after
    return sealed(name, content)


def _digest(name: str, content: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps([name, content], sort_keys=True).encode()).hexdigest()
