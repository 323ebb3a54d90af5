"""Masking of passwords, keys and addresses with credentials, wherever something is shown, logged or stored."""

from __future__ import annotations

import re
from collections.abc import Mapping

HIDDEN = "***"
KEYS = r"(?:api|access|account|private|secret)[_.-]?key"
NAMES = rf"pass(?:word|wd|phrase)?|pwd|secret|token|credentials?|signature|sig|{KEYS}"
IN_ADDRESS = re.compile(r"(\w[\w+.-]*://[^\s/:@'\"]*:)[^\s@'\"]+(?=@)")
OF_WEBHOOK = re.compile(r"(https?://(?:[^\s/'\"]*hook[^\s/'\"]*/|[^\s'\"]*?/(?:web)?hooks?/))[^\s'\"]+", re.IGNORECASE)
NAMED = re.compile(
    rf"((?<![a-z/])(?:{NAMES}|key_id)['\"]?(?:\s*[=:]\s*|\s+(?=')))('[^']*'|\"[^\"]*\"|[^\s&;,'\")]+)", re.IGNORECASE
)
OPTION = re.compile(rf"(?:^|[_.-])(?:{NAMES})$", re.IGNORECASE)


def masked(text: str) -> str:
    """Hide what would let a reader in: passwords of addresses, values of secrets, the rest of a webhook's address.

    Examples
    --------
    >>> masked("cannot reach postgresql://ana:s3cret@db/app?sslmode=require&password=s3cret")
    'cannot reach postgresql://ana:***@db/app?sslmode=require&password=***'
    >>> masked("posted to https://hooks.slack.com/services/T0/B0/abc")
    'posted to https://hooks.slack.com/***'
    """
    hidden = OF_WEBHOOK.sub(rf"\1{HIDDEN}", IN_ADDRESS.sub(rf"\1{HIDDEN}", text))
    return NAMED.sub(rf"\1{HIDDEN}", hidden)


def masked_options(options: Mapping[str, object]) -> dict[str, object]:
    """Hide the values of options that are secrets by their names, such as those of Spark's storage.

    Examples
    --------
    >>> masked_options({"spark.hadoop.fs.s3a.secret.key": "abc", "spark.ui.enabled": "false"})
    {'spark.hadoop.fs.s3a.secret.key': '***', 'spark.ui.enabled': 'false'}
    """
    return {
        name: HIDDEN if OPTION.search(name) else masked(value) if isinstance(value, str) else value
        for name, value in options.items()
    }
