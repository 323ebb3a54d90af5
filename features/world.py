"""A simulated app with known truth: who its users are, how they live, and what every offer would change.

Everything that a policy could learn shows in the events; everything that it would have to know stays here. A day
draws the same random numbers whatever was decided, so that two policies differ only where they act differently
(common random numbers), and the truth is computed, not simulated: a Markov chain of a user's possible states.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, timedelta

import numpy as np
import numpy.typing as npt

from configs.offers import Catalogue

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Choice = npt.NDArray[np.intp]
NOTHING = -1
SEGMENTS = ("sure thing", "persuadable", "lost cause", "sleeping dog")
SHARES = (0.28, 0.46, 0.09, 0.17)
# per segment: habit (visits a day), appetite (purchases a visit), hazard (leaving a day), price sensitivity,
# responsiveness, irritability
HABIT = np.array([0.50, 0.48, 0.32, 0.44])
APPETITE = np.array([0.58, 0.26, 0.26, 0.36])
HAZARD = np.array([0.0005, 0.0150, 0.0080, 0.0020])
SENSITIVITY = np.array([0.06, 1.00, 0.06, 0.08])
RESPONSIVENESS = np.array([0.10, 2.00, 0.08, 0.10])
IRRITABILITY = np.array([0.03, 0.03, 0.05, 2.10])
OPENNESS = np.array([0.75, 0.75, 0.50, 0.40])
BASKET = np.array([9.5, 14.0, 9.5, 9.5])
WEEKDAY = np.array([0.95, 0.93, 0.95, 1.0, 1.06, 1.12, 0.99])
DEVICES = ("ios", "android", "web")
REACH = {"push": 0.95, "email": 0.85, "in_app": 0.75}
PRESSURE_LEFT = 0.88  # of yesterday's message pressure
SLUMP_BEGINS, SLUMP_ENDS, SLUMP_VISITS, SLUMP_HAZARD = 0.012, 0.07, 0.40, 6.0
PROMOTION = 0.15  # everyday price promotion, share of the list price
HUNTERS, HUNTING = 0.30, 0.50  # users of every segment who wait for promotions though they would pay the full price
HOLDS_MESSAGE, HOLDS_DISCOUNT = 0.80, 1.00  # of the responsive, against leaving
BRINGS_BACK, SELLS = 0.20, 2.40  # more visits by a message, more purchases by a discount
RENEWAL, RENEWAL_DAYS, PAYMENT_FAILS, LOST_BY_FAILURE = 8.0, 30, 0.06, 0.35


@dataclass(frozen=True)
class Physics:
    """Knobs of the world; 0 switches an effect off.

    `message` scales what a contact changes (for good and for ill), `discount` what the money in it changes.
    """

    message: float = 1.0
    discount: float = 1.0


@dataclass(frozen=True)
class People:
    """What a user is and never says; every array has shape (users,)."""

    segment: npt.NDArray[np.int8]
    device: npt.NDArray[np.int8]
    joined: npt.NDArray[np.int32]
    habit: Floats
    appetite: Floats
    floor: Floats
    hazard: Floats
    sensitivity: Floats
    hunting: Flags
    responsiveness: Floats
    irritability: Floats
    openness: Floats
    basket: Floats
    subscribed: Flags
    renewal_phase: npt.NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.segment)

    def some(self, rows: slice | Choice) -> People:
        """Pick some users."""
        return People(**{name: column[rows] for name, column in vars(self).items()})


@dataclass(frozen=True)
class State:
    """Where users are in their life; it changes daily, every array has shape (users,)."""

    here: Flags
    removed: Flags
    slump: Flags
    pressure: Floats
    reachable: Flags
    option: Choice
    seen: Flags
    unused: Flags
    since: npt.NDArray[np.int32]

    def some(self, rows: slice | Choice) -> State:
        """Pick some users."""
        return State(**{name: column[rows] for name, column in vars(self).items()})


@dataclass(frozen=True)
class Menu:
    """The options of a catalogue as the world feels them; arrays have shape (options,)."""

    channel: tuple[str, ...]
    discount: Floats
    valid_days: npt.NDArray[np.int32]
    contact_cost: Floats

    @classmethod
    def of(cls, catalogue: Catalogue) -> Menu:
        """Read the options of a catalogue; the world knows the channels of `REACH`."""
        options = catalogue.options
        return cls(
            channel=tuple(offer.channel for offer, _ in options),
            discount=np.array([discount for _, discount in options]),
            valid_days=np.array([offer.valid_days for offer, _ in options], dtype=np.int32),
            contact_cost=np.array([offer.contact_cost for offer, _ in options]),
        )

    def __len__(self) -> int:
        return len(self.discount)

    @property
    def reach(self) -> Floats:
        """Chance that a message of each option is noticed by somebody who opens every message."""
        return np.array([REACH.get(channel, 0.5) for channel in self.channel])

    @property
    def pull(self) -> Floats:
        """Strength of each discount, 0 to 1: every further point of discount pulls less."""
        return 1.0 - np.exp(-self.discount / 0.12)


@dataclass(frozen=True)
class Rates:
    """Chances of one day; every array has shape (users,)."""

    visit: Floats
    purchase: Floats
    leave: Floats


@dataclass(frozen=True)
class Truth:
    """What every option would change for every user, against nothing; arrays have shape (users, options).

    Money is account currency over `days`, before the offer's own discount; `retention` is the change of the chance
    to be still here after `days`; `remaining_value` and `stays` (users,) are the margin of the days after, if here,
    and the chance to be here untreated.
    """

    p_redeem: Floats
    margin: Floats
    retention: Floats
    cost: Floats
    remaining_value: Floats
    stays: Floats

    @property
    def value(self) -> Floats:
        """Expected worth of every option; shape (users, options)."""
        return self.margin + self.retention * self.remaining_value[:, None] - self.cost


@dataclass(frozen=True)
class _Path:
    """Expectations along one course of events; arrays have shape (users,)."""

    redeemed: Floats
    margin: Floats
    given: Floats
    stays: Floats


def populate(users: int, rng: np.random.Generator, *, days_before: int = 200, days_after: int = 60) -> People:
    """Draw the users; those who join after day 0 do so over `days_after`.

    The segments are overlapping tendencies, not labels: each latent trait scatters around its segment's value.
    """
    segment = rng.choice(len(SEGMENTS), size=users, p=SHARES).astype(np.int8)

    def around(values: Floats, spread: float) -> Floats:
        return values[segment] * rng.lognormal(-(spread**2) / 2, spread, users)

    joined = np.where(
        rng.random(users) < 0.85, -rng.integers(1, days_before, users), rng.integers(0, max(days_after, 1), users)
    )
    return People(
        segment=segment,
        device=(np.arange(users) * 1_299_709 % 11 % len(DEVICES)).astype(np.int8),
        joined=joined.astype(np.int32),
        habit=np.clip(around(HABIT, 0.30), 0.02, 0.9),
        appetite=np.clip(around(APPETITE, 0.15), 0.05, 0.85),
        floor=rng.uniform(0.5, 1.0, users),
        hazard=around(HAZARD, 0.3),
        sensitivity=np.clip(around(SENSITIVITY, 0.25), 0.0, 1.2),
        responsiveness=around(RESPONSIVENESS, 0.25),
        irritability=around(IRRITABILITY, 0.25),
        openness=np.clip(around(OPENNESS, 0.2), 0.03, 1.0),
        basket=around(BASKET, 0.30),
        subscribed=rng.random(users) < np.array([0.25, 0.12, 0.06, 0.15])[segment],
        renewal_phase=rng.integers(0, RENEWAL_DAYS, users).astype(np.int32),
        hunting=rng.random(users) < HUNTERS,
    )


def newborn(people: People) -> State:
    """State of everybody on day 0."""
    users = len(people)
    return State(
        here=np.ones(users, dtype=bool),
        removed=np.zeros(users, dtype=bool),
        slump=np.zeros(users, dtype=bool),
        pressure=np.zeros(users),
        reachable=np.ones(users, dtype=bool),
        option=np.full(users, NOTHING, dtype=np.intp),
        seen=np.zeros(users, dtype=bool),
        unused=np.zeros(users, dtype=bool),
        since=np.zeros(users, dtype=np.int32),
    )


def contacted(people: People, state: State, menu: Menu, option: Choice, chance: Floats, day: int) -> State:
    """Send everybody their option (or `NOTHING`) in the morning of a day; `chance` (users,) decides who notices.

    Who has opted out is not reached by push; who is reached feels the pressure, noticed or not.
    """
    sent = (option != NOTHING) & state.here
    blocked = ~state.reachable & (np.array([*menu.channel, ""], dtype=object)[option] == "push")
    felt = sent & ~blocked
    seen = felt & (chance < _noticed(people, menu, option))
    return replace(
        state,
        option=np.where(felt, option, NOTHING),
        seen=seen,
        unused=seen & (np.r_[menu.discount, 0.0][option] > 0),
        since=np.full(len(people), day, dtype=np.int32),
        pressure=state.pressure + felt,
    )


def daily_rates(
    people: People, physics: Physics, menu: Menu, day: int, weekday: int, *,
    slump: Flags | bool, pressure: Floats, option: Choice, seen: Flags | bool, unused: Flags | bool,
) -> Rates:  # fmt: skip
    """Chances of a visit, of a purchase during it, and of leaving at the end of a day.

    A message that was noticed brings users back and holds the responsive ones; a discount makes the price
    sensitive buy more and, like the message, holds the responsive. Pressure drives the irritable away.
    """
    is_noticed = seen & (option != NOTHING)
    works = np.where(is_noticed, physics.message, 0.0)
    pull = np.where(is_noticed, np.r_[menu.pull, 0.0][option], 0.0) * physics.discount
    age = np.maximum(day - people.joined, 0)
    engaged = people.floor + (1 - people.floor) * np.exp(-age / 60.0)
    visit = people.habit * engaged * WEEKDAY[weekday] * np.where(slump, SLUMP_VISITS, 1.0)
    calm = np.exp(-people.responsiveness * (HOLDS_MESSAGE * works + HOLDS_DISCOUNT * pull * people.sensitivity))
    irritated = np.exp(people.irritability * physics.message * pressure)
    buys = people.appetite * (1.0 + SELLS * people.sensitivity * pull * np.where(unused, 1.0, 0.0))
    return Rates(
        visit=np.clip(visit * (1.0 + BRINGS_BACK * works * people.responsiveness), 0.0, 0.95),
        purchase=np.clip(buys, 0.0, 0.9),
        leave=np.clip(people.hazard * np.where(slump, SLUMP_HAZARD, 1.0) * calm * irritated, 0.0, 0.6),
    )


def renews(people: People, day: int) -> Flags:
    """Whose subscription is due on a day."""
    return people.subscribed & ((day - people.renewal_phase) % RENEWAL_DAYS == 0) & (day > people.joined)


def on_promotion(people: People) -> Floats:
    """Chance that a purchase without an offer is made at an everyday promotion.

    The price sensitive wait for it, and so do hunters, whom an offer changes no more than others.
    """
    return np.clip(0.05 + 0.50 * people.sensitivity + HUNTING * people.hunting, 0.0, 0.9)


def truth(
    people: People, state: State, physics: Physics, menu: Menu, today: tuple[int, date], *,
    days: int, value_days: int, gross_margin: float,
) -> Truth:  # fmt: skip
    """Compute what each option, sent this morning and followed by nothing, would change for every user.

    Parameters
    ----------
    today
        Number of the day and its date.
    days
        Horizon of the incremental terms.
    value_days
        Length of the window over which staying is worth something, beginning at the end of the horizon.
    """
    users = len(people)
    nothing = np.full(users, NOTHING, dtype=np.intp)
    stages = (people, physics, menu, today, gross_margin)
    quiet = _expected(*stages, state, nothing, np.zeros(users), seen=False, days=days)
    long = _expected(*stages, state, nothing, np.zeros(users), seen=False, days=days + value_days)
    remaining_value = (long.margin - quiet.margin) / np.maximum(quiet.stays, 1e-9)
    shape = (users, len(menu))
    redeemed, margin, retention, cost = (np.zeros(shape) for _ in range(4))
    ignored: dict[bool, _Path] = {}
    for place in range(len(menu)):
        option = np.full(users, place, dtype=np.intp)
        is_push = menu.channel[place] == "push"
        felt = np.where(state.reachable | (not is_push), 1.0, 0.0)
        if is_push not in ignored:
            ignored[is_push] = _expected(*stages, state, nothing, felt, seen=False, days=days)
        seen, unseen = _expected(*stages, state, option, felt, seen=True, days=days), ignored[is_push]
        share = felt * _noticed(people, menu, option)
        redeemed[:, place] = share * seen.redeemed
        margin[:, place] = share * seen.margin + (1 - share) * unseen.margin - quiet.margin
        retention[:, place] = share * seen.stays + (1 - share) * unseen.stays - quiet.stays
        cost[:, place] = share * seen.given + menu.contact_cost[place] * felt
    for table in (redeemed, margin, retention, cost):
        table[~state.here] = 0.0
    here = state.here.astype(np.float64)
    return Truth(redeemed, margin, retention, cost, remaining_value * here, quiet.stays * here)


def _noticed(people: People, menu: Menu, option: Choice) -> Floats:
    return np.asarray(np.r_[menu.reach, 0.0][option] * np.sqrt(people.openness))


def _expected(
    people: People, physics: Physics, menu: Menu, today: tuple[int, date], gross_margin: float, state: State,
    option: Choice, felt: Floats, seen: bool, days: int,
) -> _Path:  # fmt: skip
    """Follow the chances of every state (in a slump or not, offer still unused or not) day by day."""
    first, start = today
    users = len(people)
    live = option != NOTHING
    price = np.r_[menu.discount, 0.0][option]
    paid = gross_margin * people.basket * (1 - on_promotion(people) * PROMOTION)
    mass = {(slump, unused): np.zeros(users) for slump in (False, True) for unused in (False, True)}
    for slump in (False, True):
        mass[slump, bool(seen)] = np.where(state.slump == slump, 1.0, 0.0)
    if seen:
        for slump in (False, True):
            mass[slump, False] += np.where(price > 0, 0.0, mass[slump, True])
            mass[slump, True] = np.where(price > 0, mass[slump, True], 0.0)
    redeemed, margin, given = np.zeros(users), np.zeros(users), np.zeros(users)
    pressure = state.pressure + felt
    for ahead in range(days):
        day, weekday = first + ahead, (start + timedelta(days=ahead)).weekday()
        is_open = live & (ahead < np.r_[menu.valid_days, 0][option])
        due = renews(people, day)
        for slump in (False, True):  # what is over cannot be used any more
            mass[slump, False] = mass[slump, False] + np.where(is_open, 0.0, mass[slump, True])
            mass[slump, True] = np.where(is_open, mass[slump, True], 0.0)
        left = {key: np.zeros(users) for key in mass}
        for (slump, unused), amount in mass.items():
            active = np.where(is_open, option, NOTHING)
            rates = daily_rates(
                people, physics, menu, day, weekday,
                slump=slump, pressure=pressure, option=active, seen=seen, unused=unused,
            )  # fmt: skip
            bought = amount * rates.visit * rates.purchase
            margin += bought * np.where(unused & is_open, gross_margin * people.basket, paid)
            margin += amount * due * gross_margin * RENEWAL * (1 - PAYMENT_FAILS)
            stays = (1 - rates.leave) * (1 - due * PAYMENT_FAILS * LOST_BY_FAILURE)
            used = bought if unused else 0.0
            if unused:
                redeemed += bought
                given += bought * price * people.basket
                left[slump, False] += bought * stays
            left[slump, unused] += (amount - used) * stays
        begins, ends = SLUMP_BEGINS, SLUMP_ENDS
        mass = {
            (slump, unused): left[slump, unused] * (1 - (ends if slump else begins))
            + left[not slump, unused] * (begins if slump else ends)
            for slump, unused in left
        }
        pressure = pressure * PRESSURE_LEFT
    return _Path(redeemed, margin, given, np.asarray(sum(mass.values())))
