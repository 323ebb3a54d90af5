"""A number with its noun: 1 user, 2 users."""

from __future__ import annotations


def counted(number: float, one: str, many: str = "") -> str:
    """Write a whole number with its noun, which is `one` where it is 1; else `many`, or `one` with an s.

    Examples
    --------
    >>> counted(1, "user"), counted(1234, "user"), counted(1, "user is", "users are"), counted(0, "day")
    ('1 user', '1,234 users', '1 user is', '0 days')
    """
    return f"{number:,.0f} {one if number == 1 else many or f'{one}s'}"
