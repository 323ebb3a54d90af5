"""Strict JSON, without NaN and infinity."""

from __future__ import annotations

import json
import math


def strict_json(value: object, indent: int | None = None) -> str:
    """Write an object without the words that JSON does not know: what is not a number, or has no end, is null.

    Examples
    --------
    >>> strict_json({"p_churn": float("nan"), "value": [1.5, float("inf")]})
    '{"p_churn": null, "value": [1.5, null]}'
    """
    return json.dumps(_finite(value), default=str, indent=indent, allow_nan=False)


def _finite(value: object) -> object:
    if isinstance(value, dict):
        return {str(key): _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
