"""The secret key of the hashes in the suppression list: from the environment, or from a private file.

Without the key nobody can test ids against the list. If the key is lost, nobody can be found on the list any more.
"""

from __future__ import annotations

import hashlib
import os
import secrets

from configs.errors import InputError
from features.storage.lake import Lake
from features.storage.storage_interface import Publication

KEY_VARIABLE = "WINBACK_SUPPRESSION_KEY"
KEY_FILE = "suppression/key"
OWNER_ALONE = 0o600
LEAST_SIGNS = 16  # of a key that somebody chose
BLOCK = 64  # bytes that SHA-256 takes at a time (FIPS 180-4)


def suppression_key(lake: Lake) -> bytes | None:
    """Find the key of a data folder, the environment's first; None where there is none yet.

    Raises
    ------
    InputError
        The environment's is too short.
    """
    own = os.environ.get(KEY_VARIABLE, "")
    if own and len(own) < LEAST_SIGNS:
        raise InputError(f"{KEY_VARIABLE} has {len(own)} signs; give {LEAST_SIGNS} or more, drawn by chance")
    if own:
        return own.encode()
    return lake.files.read(KEY_FILE).strip() if lake.files.exists(KEY_FILE) else None


def new_key(lake: Lake, publication: Publication) -> bytes:
    """Draw a key and publish it with the list.

    Raises
    ------
    InputError
        The folder is a copy of stores that others read: a key beside the hashes would be no secret.
    """
    if lake.stores.database:
        raise InputError(
            f"{lake.root} shares its files, so that the key of the suppression list has no place in it; set "
            f"{KEY_VARIABLE} on every machine that runs winback, to one text of {LEAST_SIGNS} signs or more"
        )
    key = secrets.token_hex(32).encode()
    publication.write(KEY_FILE, key)
    publication.path(KEY_FILE).chmod(OWNER_ALONE)
    return key


def hmac_pads(key: bytes) -> dict[str, bytes]:
    """Pad a key as HMAC does (RFC 2104), for SQL that hashes: ``outer`` and ``inner``, 64 bytes each.

    Examples
    --------
    >>> pads = hmac_pads(b"key")
    >>> inner = hashlib.sha256(pads["inner"] + b"Jefe").digest()
    >>> import hmac
    >>> hashlib.sha256(pads["outer"] + inner).digest() == hmac.digest(b"key", b"Jefe", "sha256")
    True
    """
    whole = (hashlib.sha256(key).digest() if len(key) > BLOCK else key).ljust(BLOCK, b"\0")
    return {name: bytes(byte ^ pad for byte in whole) for name, pad in (("outer", 0x5C), ("inner", 0x36))}
