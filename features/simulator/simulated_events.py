"""The events of a simulated day: what happened to users, in the words of the contract."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from configs.offers import NOTHING
from features.arrays.array_types import Floats, Places
from features.ingestion.contract import EVENTS, Table
from features.simulator.population import DEVICES, RENEWAL
from features.simulator.simulated_day import LEVEL_END, LEVEL_START, Day, World, ids_of

TYPES = {"text": pa.string(), "instant": pa.timestamp("us", "UTC"), "number": pa.float64(), "flag": pa.bool_()}
CATEGORIES = ("games", "music", "films", "books", "fitness", "travel", "cooking", "news")
COUNTRIES = {"DE": 1, "FR": 1, "GB": 0, "IN": 5, "JP": 9, "BR": -3, "US": -6}
LOCAL_HOURS = np.array([1, 1, 1, 1, 1, 2, 4, 7, 8, 7, 6, 6, 8, 7, 6, 6, 7, 9, 12, 14, 14, 12, 7, 3], dtype=float)
MORNING = 9.0  # local hour at which messages go out
AT_THEIR_HOUR, AROUND_IT = 0.45, 1.5  # share of visits and openings that is near a user's own hour; hours around it
LEVELS_BEGUN, LEVELS_FINISHED = 0.15, 0.6  # share of visits with a level, and of those levels that are finished
ITEMS = np.array([f"item-{number:03d}" for number in range(200)], dtype=object)
LAST_SECOND = 85_500  # of a day in which something begins


def simulate_day(world: World) -> tuple[World, pa.Table]:
    """Live one day; returns the world of the next morning and the day's events, a table of the contract."""
    after, day = world.live()
    return after, events_of(world, day)


def events_of(world: World, day: Day) -> pa.Table:
    """Write a day that began in this world down in the words of the contract, ordered by user and instant."""
    pages = [*_messages(world), *_sessions(world, day), *_subscriptions(day), *_farewells(world, day)]
    rows = {name: np.concatenate([page[name] for page in pages]) for name in pages[0]}
    order = np.lexsort((rows["step"], rows["second"], rows["user"]))
    rows = {name: column[order] for name, column in rows.items()}
    users = rows["user"]
    user_ids = ids_of(users)
    ids = pa.array(user_ids, pa.string())
    names = pa.array(rows["event_name"], pa.string())
    midnight = np.datetime64(world.today, "us")
    instants = pa.array(midnight + rows["second"].astype("timedelta64[s]")).cast(pa.timestamp("us", "UTC"))
    session = prefixed(f"s{world.day:04d}", user_ids)
    columns = {
        "event_id": pc.binary_join_element_wise(
            f"{world.day:04d}", ids, names, pa.array(rows["step"]).cast(pa.string()), "-"
        ),
        "user_id": ids,
        "event_name": names,
        "occurred_at": instants,
        "amount": _money(rows["amount"]),
        "discount": _money(rows["discount"]),
        "item_id": _optional(rows["item"]),
        "item_category": _optional(rows["category"]),
        "channel": _optional(rows["channel"]),
        "offer_id": _optional(rows["offer_id"]),
        "decision_id": _optional(rows["decision_id"]),
        "session_id": pa.array(session, pa.string(), mask=~rows["in_session"]),
        "device": pa.array(np.array(DEVICES, dtype=object)[world.people.device[users]], pa.string()),
        "country": pa.array(np.array(list(COUNTRIES), dtype=object)[home_of(len(world.people))[users]], pa.string()),
    }
    return contract_table(EVENTS, len(users), columns)


def _page(
    event_name: str, user: Places, second: npt.NDArray[np.int64], step: int, **columns: object
) -> dict[str, np.ndarray]:
    """Write events of one kind; `step` orders what happens in the same second and tells two of a kind apart."""
    nothing: dict[str, object] = {"amount": np.nan, "discount": np.nan, "item": None, "category": None, "channel": None,
                                  "offer_id": None, "decision_id": None, "in_session": False}  # fmt: skip
    page = {"event_name": event_name, "step": step, **nothing, **columns}
    filled = {
        name: value if isinstance(value, np.ndarray) else _repeat(value, len(user)) for name, value in page.items()
    }
    return {"user": user, "second": second, **filled}


def _repeat(value: object, times: int) -> np.ndarray:
    kind = object if value is None or isinstance(value, str) else None
    return np.full(times, value, dtype=kind)


def _messages(world: World) -> Iterator[dict[str, np.ndarray]]:
    """Digests that everybody gets every third day, and the offers of the morning."""
    people, state = world.people, world.state
    users = np.arange(len(people))
    luck = world.draws("messages").random((2, len(people)))
    reached = ~state.removed & state.reachable & (people.joined < world.day)
    is_due = (users + world.day) % 3 == 0
    digest = np.flatnonzero(reached & is_due)
    morning = _seconds(world, MORNING)
    yield _page("notification_receive", digest, morning[digest], 0, channel="push")
    likes = 0.9 * people.openness * np.where(state.slump, 0.6, 1.0)
    opens_at = morning + _wait_to_open(luck[1])
    # whose hour comes after midnight in UTC opens what came the day before
    is_later, came_before = opens_at > LAST_SECOND, (users + world.day) % 3 == 1
    opened = np.flatnonzero(reached & state.here & np.where(is_later, came_before, is_due) & (luck[0] < likes))
    yield _page("notification_open", opened, np.maximum(opens_at - 86_400 * is_later, 0)[opened], 1, channel="push")
    given = world.given.option
    sent = (given != NOTHING) & (state.since == world.day) & ~state.removed
    channel = np.array([*world.menu.channel, None], dtype=object)[given]
    received = np.flatnonzero(sent & (state.reachable | (channel != "push")))
    offers = np.array([*(option.offer_id for option in world.catalogue.options), None], dtype=object)[given]
    ids = world.given.decision_id
    for name, rows, wait, step in (
        ("notification_receive", received, 1, 2),
        ("notification_open", received[state.seen[received]], 900, 3),
        ("offer_view", received[state.seen[received]], 901, 4),
    ):
        more = {"channel": channel[rows], "offer_id": offers[rows], "decision_id": ids[rows]}
        yield _page(name, rows, morning[rows] + wait, step, **more)


def _sessions(world: World, day: Day) -> Iterator[dict[str, np.ndarray]]:
    """Visits: views, perhaps a cart, a checkout, a purchase, the use of an offer."""
    people = world.people
    luck = world.draws("visit").random((6, len(people)))
    users = np.flatnonzero(day.visits)
    begins = _seconds(world, _hour_of_visit(luck[0]) + luck[1] * 0.8)
    read = _seconds(world, MORNING) + 960  # nobody uses this morning's offer before having read it
    begins = np.where(day.redeems & (world.state.since == world.day), np.maximum(begins, read), begins)
    category = np.array(CATEGORIES, dtype=object)[_category(world, luck[2])]
    item = ITEMS[(luck[3] * len(ITEMS)).astype(int)]
    fresh = np.flatnonzero(day.visits & (people.joined == world.day))
    yield _page("sign_up", fresh, begins[fresh] + 1, 1, in_session=True)
    yield from _levels(world, day, begins)
    done = fresh[luck[4][fresh] < 0.5 + 0.4 * people.floor[fresh]]
    yield _page("tutorial_complete", done, begins[done] + 60, 1, in_session=True)
    yield _page("session_start", users, begins[users], 0, in_session=True)
    views = (luck[5] * 3).astype(int)
    for place in range(2):
        rows = np.flatnonzero(day.visits & ((views > place) | (day.buys & (place == 0))))
        more = {"item": item[rows], "category": category[rows]}
        yield _page("view_item", rows, begins[rows] + 70 + 60 * place, place, in_session=True, **more)
    carts = day.buys | (day.visits & (luck[4] < 0.18))
    checkouts = day.buys | (carts & (luck[3] < 0.35))
    wares = {"item": item, "category": category}
    money = {"amount": day.list_price * (1 - day.price_off), "discount": day.list_price * day.price_off}
    for name, flag, wait, columns in (
        ("add_to_cart", carts, 240, wares),
        ("begin_checkout", checkouts, 300, wares),
        ("purchase", day.buys, 360, wares | money),
    ):
        rows = np.flatnonzero(flag)
        more = {column: values[rows] for column, values in columns.items()}
        yield _page(name, rows, begins[rows] + wait, 2, in_session=True, **more)
    rows = np.flatnonzero(day.redeems)
    option = world.state.option[rows]
    yield _page(
        "offer_redeem", rows, begins[rows] + 360, 3, in_session=True,
        **{column: values[rows] for column, values in money.items()},
        offer_id=np.array([each.offer_id for each in world.catalogue.options], dtype=object)[option],
        channel=np.array(world.menu.channel, dtype=object)[option], decision_id=world.given.decision_id[rows],
    )  # fmt: skip


def _levels(world: World, day: Day, begins: npt.NDArray[np.int64]) -> Iterator[dict[str, np.ndarray]]:
    """Levels that visitors begin and finish, where somebody asks for them; they change nothing else."""
    if not world.has_levels:
        return
    luck = world.draws("levels").random((2, len(world.people)))
    begun = day.visits & (luck[0] < LEVELS_BEGUN)
    for name, flag, wait in ((LEVEL_START, begun, 400), (LEVEL_END, begun & (luck[1] < LEVELS_FINISHED), 700)):
        rows = np.flatnonzero(flag)
        yield _page(name, rows, begins[rows] + wait, 4, in_session=True)


def _subscriptions(day: Day) -> Iterator[dict[str, np.ndarray]]:
    """Renewals and payments that failed, at three in the morning."""
    paid, failed = np.flatnonzero(day.due & ~day.fails), np.flatnonzero(day.fails)
    yield _page("app_store_subscription_renew", paid, np.full(len(paid), 10_800), 0, amount=RENEWAL)
    yield _page("payment_failed", failed, np.full(len(failed), 10_800), 0)


def _farewells(world: World, day: Day) -> Iterator[dict[str, np.ndarray]]:
    """Say the last that is heard of some users; most leave without a word."""
    for name, flag, step in (
        ("opt_out", day.opts_out, 0),
        ("app_store_subscription_cancel", day.leaves & world.people.subscribed, 1),
        ("app_remove", day.removes, 2),
    ):
        rows = np.flatnonzero(flag)
        yield _page(name, rows, np.full(len(rows), 86_390), step)


def _seconds(world: World, local_hour: Floats | float) -> npt.NDArray[np.int64]:
    """Second of the UTC day at which it is some local hour for each user; shape (users,)."""
    shift = np.array(list(COUNTRIES.values()))[home_of(len(world.people))]
    return np.asarray(((local_hour - shift) % 24) * 3600, dtype=np.int64).clip(0, LAST_SECOND)


def _category(world: World, luck: Floats) -> Places:
    """Choose what a user looks at: a favourite that the user's number fixes, or anything."""
    favourite = np.arange(len(world.people)) * 7919 % len(CATEGORIES)
    return np.where(luck < 0.6, favourite, (luck * 1000).astype(int) % len(CATEGORIES)).astype(np.intp)


def own_hours(users: int) -> Places:
    """Find the hour of each user's own clock at which they like to look at the app; shape (users,)."""
    return _any_hour((np.arange(users) * 611_953 % 10_007 + 0.5) / 10_007)


def _any_hour(luck: Floats) -> Places:
    return np.minimum(np.searchsorted(np.cumsum(LOCAL_HOURS) / LOCAL_HOURS.sum(), luck), 23)


def _hour_of_visit(luck: Floats) -> Floats:
    """Choose the local hour of a visit, mostly near the user's own, else when people look at apps."""
    own, other = luck / AT_THEIR_HOUR, (luck - AT_THEIR_HOUR) / (1 - AT_THEIR_HOUR)
    near = own_hours(len(luck)) + AROUND_IT * (2 * own - 1)
    return np.where(luck < AT_THEIR_HOUR, np.round(near) % 24, _any_hour(other))


def _wait_to_open(luck: Floats) -> npt.NDArray[np.int64]:
    """Seconds from a message of the morning to its opening: near the user's own hour, where that is later, or soon."""
    own, soon = luck / AT_THEIR_HOUR, (luck - AT_THEIR_HOUR) / (1 - AT_THEIR_HOUR)
    hours = own_hours(len(luck)) + 0.5 + AROUND_IT * (2 * own - 1) - MORNING
    wait = np.where((luck < AT_THEIR_HOUR) & (hours > 1 / 6), hours, 1 / 6 + np.abs(soon) % 1)
    return np.asarray(3600 * wait, dtype=np.int64)


def home_of(users: int) -> Places:
    """Find the place of each user's country in `COUNTRIES`; shape (users,)."""
    return np.arange(users) * 104_729 % len(COUNTRIES)


def prefixed(prefix: str, texts: npt.NDArray[np.object_]) -> npt.NDArray[np.object_]:
    """Put a prefix and a hyphen before texts."""
    return np.asarray(
        pc.binary_join_element_wise(prefix, pa.array(texts, pa.string()), "-").to_numpy(zero_copy_only=False)
    )


def _money(amount: Floats) -> pa.Array:
    return pa.array(np.round(amount, 2), pa.float64(), from_pandas=True)


def _optional(texts: npt.NDArray[np.object_]) -> pa.Array:
    return pa.array(texts, pa.string(), from_pandas=True)


def contract_table(table: Table, rows: int, columns: dict[str, object]) -> pa.Table:
    """Lay columns out as a contract table; those not given are empty."""
    arrays = []
    for column in table.columns:
        kind = TYPES[column.kind]
        given = columns.get(column.name)
        if given is None:
            arrays.append(pa.nulls(rows, kind))
        else:
            arrays.append(given.cast(kind) if isinstance(given, pa.Array) else pa.array(given, kind))
    return pa.table(arrays, names=table.names)
