"""Policies that people bring: a rule on one column, or a file with a choice per user."""

from __future__ import annotations

import re
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd

from configs.errors import InputError, did_you_mean, first_line
from configs.offers import NO_OFFER
from configs.settings import Settings
from features.storage.lake import literal
from features.tables.duckdb_sessions import duckdb_session, sql_text
from models.policy_value.logged_treatments import LoggedTreatments
from models.policy_value.policy_comparison import NamedPolicy
from models.policy_value.policy_verdict import RULE, Deployed

WRITTEN = re.compile(
    r"\s*(?P<column>\w+)\s*(?P<sign>>|<=)\s*(?P<number>[-+]?\d+(\.\d+)?)\s*:\s*(?P<offer>[^@]+?)\s*(@\s*(?P<level>\d+(\.\d+)?))?\s*"
)


def rule_policy(treatments: LoggedTreatments, text: str) -> NamedPolicy:
    """Read a rule such as ``spend_sum_90d > 20: come_back@0.1`` (the lowest discount where none is said).

    Raises
    ------
    InputError
        It is no rule, or names a column or an option that there is not.
    """
    found = WRITTEN.fullmatch(text)
    if found is None:
        raise InputError(f"{text!r} is no rule; write 'column > number: offer@discount' (or <=)")
    columns = [name for name in treatments.frame.columns if pd.api.types.is_numeric_dtype(treatments.frame[name])]
    if found["column"] not in columns:
        near = did_you_mean(found["column"], columns)
        raise InputError(f"{found['column']!r} of the rule {text!r} is no column of numbers; {near}")
    place = _place_of(treatments, found["offer"], found["level"])
    is_above = found["sign"] == ">"
    rule = Deployed(RULE, treatments.options[place - 1], found["column"], float(found["number"]), is_above)
    applies = rule.applies_to(treatments.frame, np.zeros(len(treatments.frame)))
    unknown = int(treatments.frame[rule.column].isna().sum())
    counts_as = "where it counts as 0, as it does when winback learns a rule"
    note = f"{rule.column} is not known in {unknown:,} of {len(applies):,} rows, {counts_as}" if unknown else ""
    return NamedPolicy(text.strip(), np.where(applies, place, 0), note)


def file_policy(settings: Settings, treatments: LoggedTreatments, path: Path) -> NamedPolicy:
    """Read who is given what: a CSV or Parquet file of ``user_id``, ``offer_id`` and, if wanted, ``discount``.

    Who is not in it is given nothing.

    Raises
    ------
    InputError
        It cannot be read, lacks a column, names somebody twice or an option that nobody drew.
    """
    rows = _read_policy(settings, path)
    if rows.empty:
        raise InputError(f"{path} names nobody; write a row of user_id, offer_id and, if wanted, discount per user")
    if rows["user_id"].duplicated().any():
        twice = rows.loc[rows["user_id"].duplicated(), "user_id"].iloc[0]
        raise InputError(f"{path} names the user {twice!r} twice; give each user one row")
    levels = rows["discount"] if "discount" in rows else pd.Series(np.nan, index=rows.index)
    pairs = pd.DataFrame({"offer": rows["offer_id"], "level": levels})
    codes, known = pd.factorize(pd.MultiIndex.from_frame(pairs))
    places = [_place_of(treatments, str(offer), None if pd.isna(level) else str(level)) for offer, level in known]
    by_user = pd.Series(np.array(places, dtype=np.intp)[codes], index=rows["user_id"])
    choice = treatments.frame["user_id"].map(by_user)
    named = int(choice.notna().sum())
    note = f"{path.name} names the users of {named:,} of {len(choice):,} rows; all others count as given nothing"
    return NamedPolicy(path.stem, choice.fillna(0).to_numpy(dtype=np.intp), note)


def _read_policy(settings: Settings, path: Path) -> pd.DataFrame:
    kind = path.suffix.lower().removeprefix(".")
    readers = {"csv": "read_csv({}, all_varchar = true)", "parquet": "read_parquet({})"}
    if kind not in readers:
        raise InputError(f"{path} is no CSV or Parquet file; name one with user_id and offer_id")
    with duckdb_session(settings) as connection:
        try:
            rows = connection.execute(f"SELECT * FROM {readers[kind].format(sql_text(literal(path)))}").df()
        except duckdb.Error as error:
            raise InputError(f"{path} cannot be read ({first_line(error)}); check the path and the file") from error
    lacking = [name for name in ("user_id", "offer_id") if name not in rows]
    if lacking:
        raise InputError(
            f"{path} lacks the column {lacking[0]!r}; a policy is user_id, offer_id and, if wanted, discount"
        )
    return rows.astype({"user_id": str, "offer_id": str})


def _place_of(treatments: LoggedTreatments, offer: str, level: str | None) -> int:
    """Find an option's place, after *nothing*, which is 0; without a level it is the offer's lowest."""
    if offer == NO_OFFER:
        if level is not None and level.strip("0. "):
            raise InputError(f"{NO_OFFER!r} gives nothing, and so no discount of {level}; write 0, or leave it empty")
        return 0
    own = [(discount, place) for place, (name, discount) in enumerate(treatments.options, 1) if name == offer]
    if not own:
        names = dict.fromkeys(name for name, _ in treatments.options)
        raise InputError(
            f"no random draw gave the offer {offer!r}, so that nothing shows its worth; {did_you_mean(offer, names)}"
        )
    if level is None:
        return min(own)[1]
    try:
        wanted = float(level)
    except ValueError as error:
        raise InputError(f"the discount {level!r} of {offer!r} is no number; write a share such as 0.1") from error
    for discount, place in own:
        if np.isclose(discount, wanted, atol=1e-6):
            return place
    raise InputError(
        f"no random draw gave {offer!r} at {wanted:g}; it was drawn at {', '.join(f'{d:g}' for d, _ in own)}"
    )
