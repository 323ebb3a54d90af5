"""The oracle of snapshots: what was known about each user at the start of a day, as Ibis queries of daily rows.

Only rows with ``day < as_of`` and ``known_on < as_of`` ever reach a feature's function, so an event at or after
`as_of`, or one that became known only then, cannot be seen.
"""

from __future__ import annotations

from typing import cast

import ibis
import ibis.expr.types as ir
from oracle_windows import KEYS, seen, what_is_declared, windows

from features.definitions.daily_measures import MICROS
from features.definitions.onboarding_steps import NEXT_STEP, ONBOARDING_SHARE, SIGN_UP
from features.definitions.registry import LONGEST
from features.definitions.snapshot_features import DERIVED, TASTE_DAYS


def snapshots(aggregates: ir.Table, counts: ir.Table, users: ir.Table, spine: ir.Table) -> ir.Table:
    """Compute every feature of every user known at each instant of the spine.

    Parameters
    ----------
    aggregates, counts
        Tables of ``oracle_daily``; rows on or after an instant, or known only then, are ignored.
    users
        ``user_id``, ``signed_up_on`` and the traits, each named like its column of a snapshot (`trait_column`).
    spine
        ``day`` (date) and ``as_of`` (the instant at which that day starts), one row per snapshot.

    Returns
    -------
    One row per instant and user: ``user_id``, ``day``, ``as_of``, ``created_at`` (instants) and the columns of
    `catalogue`; numbers are float64, a missing number is null.
    """
    return with_derived(behaviour(aggregates, counts, spine), users, spine)


def behaviour(aggregates: ir.Table, counts: ir.Table, spine: ir.Table) -> ir.Table:
    """Compute what the daily rows say about each user: ``first_day`` and every column that is not derived."""
    recent = seen(aggregates, spine, LONGEST)
    older = seen(aggregates, spine).filter(lambda pairs: pairs.age_days > LONGEST)
    earliest = older.group_by(*KEYS).aggregate(older_day=older.happened_on.min())
    table = outer_join(windows(recent), earliest)
    table = table.mutate(first_day=ibis.coalesce(table.older_day, table.first_day)).drop("older_day")
    for part in (rhythm(aggregates, spine), tastes(counts, spine), steps_done(aggregates, spine)):
        table = without_doubles(table.left_join(part, KEYS))
    return table


def with_derived(state: ir.Table, users: ir.Table, spine: ir.Table) -> ir.Table:
    """Add users who only signed up, the traits and the derived columns to what `behaviour` knows."""
    signed_up = spine.select("day").inner_join(users, users.signed_up_on < spine.day).select(*KEYS)
    table = outer_join(state, signed_up)
    table = table.left_join(users, "user_id").drop("user_id_right")
    traits = [name for name in users.columns if name not in ("user_id", "signed_up_on")]
    return finished(without_doubles(table.left_join(spine, "day")), traits)


def finished(table: ir.Table, traits: list[str]) -> ir.Table:
    """Compute the columns of a snapshot from what is known of each user, row by row.

    `table` has the keys, ``as_of``, the columns of `behaviour`, ``signed_up_on`` and those of the traits.
    """
    begun = ibis.coalesce(ibis.least(table.signed_up_on, table.first_day), table.signed_up_on, table.first_day)
    table = table.mutate(tenure_seen_days=table.day.delta(begun, unit="day").cast("float64"))
    totals = [
        each.name for each in what_is_declared().catalogue() if each.missing == "zero" and each.name in table.columns
    ]
    table = table.mutate(**{name: table[name].fill_null(0.0) for name in totals})
    for name, function in DERIVED.items():
        table = table.mutate(**{name: function(table).cast("float64")})
    table = progress(table)
    columns = {
        each.name: table[each.name] if each.is_text else table[each.name].cast("float64")
        for each in what_is_declared().catalogue()
    }
    columns |= {name: table[name] for name in traits}
    return table.select("user_id", "day", "as_of", created_at=table.as_of, **columns)


def outer_join(left: ir.Table, right: ir.Table) -> ir.Table:
    """Join all users of two tables; a name of both is told apart by ``_right``."""
    table = left.outer_join(right, KEYS)
    keys = {name: ibis.coalesce(table[name], table[f"{name}_right"]) for name in KEYS}
    return without_doubles(table.mutate(**keys))


def without_doubles(joined: ir.Table) -> ir.Table:
    """Leave the second copy of the keys of a join out."""
    doubles = {f"{name}_right" for name in KEYS}
    # not by `drop`, which names several columns in an order that differs from process to process, and with it the hash
    return joined.select(*(name for name in joined.columns if name not in doubles))


def rhythm(aggregates: ir.Table, spine: ir.Table) -> ir.Table:
    """Measure the pauses between active days of the last year, by user and instant."""
    days = aggregates.select("user_id", "day", "known_on", "active_days").filter(aggregates.active_days > 0)
    active = seen(days, spine, LONGEST)
    before = active.happened_on.lag().over(group_by=list(KEYS), order_by="happened_on")
    paced = active.mutate(gap=active.happened_on.delta(before, unit="day").cast("int64"))
    # whole numbers add up to the same bits in whatever order threads meet them, an engine's own deviation does not
    sums = paced.group_by(*KEYS).aggregate(
        gaps=paced.gap.count().cast("float64"),
        days=paced.gap.sum().cast("float64"),
        squares=(paced.gap * paced.gap).sum().cast("float64"),
        gap_days_max_365d=paced.gap.max().cast("float64"),
    )
    return sums.select(*KEYS, "gap_days_max_365d", gap_days_std_365d=spread(sums.gaps, sums.days, sums.squares))


def spread(gaps: ir.Value, days: ir.Value, squares: ir.Value) -> ir.Value:
    """Compute the standard deviation of some pauses from their number, their sum and the sum of their squares."""
    gaps, days, squares = (cast(ir.FloatingColumn, value) for value in (gaps, days, squares))
    return ((gaps * squares - days * days) / (gaps * (gaps - 1.0)).nullif(0.0)).sqrt()


def tastes(counts: ir.Table, spine: ir.Table) -> ir.Table:
    """Find the favourite category and hour of the last `TASTE_DAYS` days, by user and instant."""
    seen_counts = seen(counts, spine, TASTE_DAYS)
    totals = seen_counts.group_by(*KEYS, "dimension", "label").aggregate(
        events=seen_counts.events_count.cast("float64").sum(), spend=seen_counts.spend_micros.cast("float64").sum()
    )
    is_category = totals.dimension == "category"
    # the least of (-spend, -events, label) is the favourite: most spend, then most events, then first by name
    rank = ibis.struct({"spend": ibis.ifelse(is_category, -totals.spend, 0.0), "events": -totals.events,
                        "label": totals.label})  # fmt: skip
    ranked = totals.mutate(rank=rank, is_category=is_category)
    best = ranked.group_by(*KEYS).aggregate(
        categories_count_90d=ranked.count(where=ranked.is_category).cast("float64"),
        category=ranked["rank"].min(where=ranked.is_category),
        hour=ranked["rank"].min(where=~ranked.is_category),
    )
    return best.select(
        *KEYS,
        "categories_count_90d",
        favourite_category_90d=best.category["label"],
        favourite_category_spend_90d=-best.category["spend"] / float(MICROS),
        favourite_hour_90d=best.hour["label"].cast("float64"),
    )


def steps_done(aggregates: ir.Table, spine: ir.Table) -> ir.Table:
    """Tell which of the first steps each user ever did, by user and instant: 1 or 0."""
    rows = seen(aggregates, spine)
    ever = {step.column: (rows[step.measure] > 0).any().cast("float64") for step in what_is_declared().steps}
    return rows.group_by(*KEYS).aggregate(**ever)


def progress(table: ir.Table) -> ir.Table:
    """Count those as signed up who are in the users table; find the share of steps done, and the next one."""
    is_signed_up = (table.signed_up_on < table.day).fill_null(False).cast("float64")
    own = {step.column: ibis.greatest(table[step.column], is_signed_up) for step in what_is_declared().steps
           if step.event_name == SIGN_UP}  # fmt: skip
    table = table.mutate(**own)
    done = sum(table[step.column] for step in what_is_declared().steps)
    upcoming = ibis.cases(*((table[step.column] == 0.0, step.event_name) for step in what_is_declared().steps))
    return table.mutate(**{ONBOARDING_SHARE: done / len(what_is_declared().steps), NEXT_STEP: upcoming})
