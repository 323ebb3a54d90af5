"""One user of a decided day: their risk and its reasons, the decision, and what every option is worth for them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import Any

from configs.errors import InputError
from configs.settings import Settings
from features.storage.duckdb_sessions import sql_text
from features.storage.lake import Lake
from serving.decide.day_tables import connect, day_folder, decisions_source

Row = dict[str, Any]


def decision_of(lake: Lake, as_of: date, user_id: str) -> Row:
    """Read one user's decision; instants are in UTC, and what is not known is None.

    Raises
    ------
    InputError
        The day has no decisions, or the user is unknown.
    """
    source = decisions_source(lake, as_of)
    found = _rows(lake, f"SELECT * FROM {source} WHERE user_id = {sql_text(user_id)}")
    if found:
        return found[0]
    nearest = f"levenshtein(user_id, {sql_text(user_id)}), user_id"
    near = _rows(lake, f"SELECT user_id FROM {source} ORDER BY {nearest} LIMIT 3")
    known = ", ".join(row["user_id"] for row in near)
    raise InputError(f"there is no user {user_id!r} in the decisions of {as_of}; the nearest ids are {known}")


def options_of(lake: Lake, as_of: date, user_id: str) -> list[Row]:
    """Read one user's options, best first."""
    path = day_folder(lake, as_of) / "options.parquet"
    own = f"SELECT * FROM read_parquet({sql_text(path)}) WHERE user_id = {sql_text(user_id)}"
    return _rows(lake, f"{own} ORDER BY value DESC")


def explanation_lines(decision: Mapping[str, Any], options: Sequence[Row], settings: Settings) -> Iterator[str]:
    """Write what is known about a user, and what was decided and why, as a page."""
    if decision["p_churn"] is None:
        yield f"  risk      unknown: {decision['why']}"
    else:
        horizon = settings.churn.horizon_days
        yield f"  risk      {decision['p_churn']:.1%} to leave within {horizon} days ({decision['risk_band']})"
        yield f"  worth     {decision['remaining_value']:,.2f} {settings.currency} of margin if they stay"
        because = enumerate(decision["reasons"].split("; "))
        yield from (f"  {'' if place else 'because':<9} {reason}" for place, reason in because)
    given = f"{decision['offer_id']} at {decision['discount']:.0%} by {decision['channel']}"
    yield f"  decision  {'nothing' if decision['offer_id'] == 'none' else given}"
    yield f"  why       {decision['why']}"
    if decision["offer_id"] != "none":
        yield f"  message   {decision['message']}"
        yield f"  evidence  {decision['evidence']}"
    if options:
        yield f"  options   value in {settings.currency}, best first"
        yield from map(_option_line, options)


def _option_line(option: Row) -> str:
    named = f"    {option['offer_id']:<12} {option['discount']:>4.0%}"
    worth = f"value {option['value']:+7.2f}  P(redeem) {option['p_redeem']:5.1%}"
    return f"{named}  {worth}  {option['why_not'] or ''}".rstrip()


def _rows(lake: Lake, query: str) -> list[Row]:
    """Ask a question; a parameter of DuckDB's would cost the import of pandas."""
    with connect(lake) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        found = connection.execute(query)
        names = [name for name, *_ in found.description or ()]
        return [dict(zip(names, row, strict=True)) for row in found.fetchall()]
