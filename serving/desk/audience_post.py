"""Posting of an audience to the operator's endpoint, signed according to Standard Webhooks.

The message's id is made of what it says: the same audience sent twice bears the same id, by which a receiver drops the
second (idempotency). What failed for a passing reason is tried again.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit

from configs.errors import InputError

ADDRESS, SECRET = "WINBACK_AUDIENCE_URL", "WINBACK_AUDIENCE_SECRET"
PREFIX, SHORTEST_SECRET, MOST_ROWS, WITHIN = "whsec_", 24, 100_000, 30.0
WAITS = (1.0, 5.0)  # seconds before another try
PASSING = (408, 429)  # answers that another try may change; those from 500 on, too


@dataclass(frozen=True)
class Receiver:
    """Where audiences are posted to, and the secret that signs them."""

    address: str
    secret: bytes

    @classmethod
    def of_environment(cls, environment: Mapping[str, str]) -> Receiver | None:
        """Read address and secret; None where no address is set.

        Raises
        ------
        InputError
            The address is none of the web, or the secret is missing or short.
        """
        address, text = environment.get(ADDRESS, ""), environment.get(SECRET, "")
        if not address:
            return None
        if urlsplit(address).scheme not in ("https", "http") or not urlsplit(address).hostname:
            raise InputError(f"{ADDRESS} is no address of the web; it begins with https://")
        try:
            secret = base64.b64decode(text.removeprefix(PREFIX), validate=True)
        except (binascii.Error, ValueError):
            secret = b""
        if not text.startswith(PREFIX) or len(secret) < SHORTEST_SECRET:
            raise InputError(
                f"{SECRET} must be {PREFIX} and {SHORTEST_SECRET} bytes or more in base64, as the receiver has it"
            )
        return cls(address, secret)

    @property
    def host(self) -> str:
        """Who receives, for people: the rest of the address may be a secret."""
        return urlsplit(self.address).hostname or ""


def signature(secret: bytes, message_id: str, timestamp: int, body: bytes) -> str:
    """Sign a message as Standard Webhooks 1.0 does.

    Examples
    --------
    >>> body = b'{"test": 2432232314}'
    >>> secret = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    >>> signature(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body)
    'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE='
    """
    signed = f"{message_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(secret, signed, hashlib.sha256).digest()).decode()


def message_of(day: str, given: Mapping[str, str], rows: Sequence[Mapping[str, Any]]) -> tuple[str, bytes]:
    """Write an audience as one object, and name it by what it says.

    Raises
    ------
    InputError
        It is larger than a receiver may be expected to take at once.
    """
    if len(rows) > MOST_ROWS:
        raise InputError(f"{len(rows):,} people are more than the {MOST_ROWS:,} that are posted at once; choose fewer")
    content = {"type": "audience.chosen", "timestamp": day, "data": {"day": day, "filter": dict(given), "people": rows}}
    body = json.dumps(content, sort_keys=True, default=str).encode()
    return f"msg_{hashlib.sha256(body).hexdigest()[:32]}", body


def post(receiver: Receiver, message_id: str, body: bytes, *, wait: Callable[[float], None] = time.sleep) -> int:
    """Post a message; returns the number of tries.

    Raises
    ------
    InputError
        The receiver refused it, or did not answer.
    """
    said = ""
    for tries, pause in enumerate((*WAITS, None), 1):
        timestamp = int(time.time())
        headers = {
            "Content-Type": "application/json", "webhook-id": message_id, "webhook-timestamp": str(timestamp),
            "webhook-signature": signature(receiver.secret, message_id, timestamp, body),
        }  # fmt: skip
        request = urllib.request.Request(receiver.address, body, headers)  # noqa: S310 - checked where it is read
        try:
            urllib.request.urlopen(request, timeout=WITHIN).close()  # noqa: S310
        except HTTPError as error:
            said, is_passing = f"answered {error.code}", error.code in PASSING or error.code >= 500
        except (OSError, HTTPException) as error:
            said, is_passing = f"did not answer ({getattr(error, 'reason', type(error).__name__)})", True
        else:
            return tries
        if pause is None or not is_passing:
            break
        wait(pause)
    raise InputError(f"{receiver.host} {said}; nothing may have been taken, and sending it again does no harm")
