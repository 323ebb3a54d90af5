"""A simulated app with known truth: who its users are, what moves them, and the chances of a day.

Everything that a policy could learn shows in the events; everything that it would have to know stays here. The
segments are those of uplift modelling: sure things buy anyway, persuadables only if asked, lost causes never, and
sleeping dogs leave when they are woken.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from configs.offers import NOTHING, Catalogue
from features.arrays.array_types import Flags, Floats, Places

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

    `message` scales what a contact changes (for good and for ill), `discount` what the money in it changes. `variant`
    is by which share a message is noticed more often that says a play in another way than the usual one.
    """

    message: float = 1.0
    discount: float = 1.0
    variant: float = 0.0


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

    def some(self, rows: slice | Places) -> People:
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
    option: Places
    seen: Flags
    unused: Flags
    since: npt.NDArray[np.int32]

    def some(self, rows: slice | Places) -> State:
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
        offers = catalogue.offer_of_options
        return cls(
            channel=tuple(offer.channel for offer in offers),
            discount=np.array([discount for _, discount in catalogue.options]),
            valid_days=np.array([offer.valid_days for offer in offers], dtype=np.int32),
            contact_cost=np.array([offer.contact_cost for offer in offers]),
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


def contacted(
    people: People, state: State, menu: Menu, option: Places, chance: Floats, day: int, appeal: Floats | float = 1.0
) -> State:
    """Send everybody their option (or `NOTHING`) in the morning of a day; `chance` (users,) decides who notices.

    `appeal` multiplies how likely each is to notice, shape (users,).
    Who has opted out is not reached by push; who is reached feels the pressure, noticed or not.
    """
    sent = (option != NOTHING) & state.here
    blocked = ~state.reachable & (np.array([*menu.channel, ""], dtype=object)[option] == "push")
    felt = sent & ~blocked
    seen = felt & (chance < appeal * noticed(people, menu, option))
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
    slump: Flags | bool, pressure: Floats, option: Places, seen: Flags | bool, unused: Flags | bool,
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


def noticed(people: People, menu: Menu, option: Places) -> Floats:
    """Chance that each user notices an option that reaches them; 0 for `NOTHING`."""
    return np.asarray(np.r_[menu.reach, 0.0][option] * np.sqrt(people.openness))
