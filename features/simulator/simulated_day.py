"""A day of the simulated app: decisions in the morning, and chance in between."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import date, timedelta

import numpy as np
import numpy.typing as npt

from configs.offers import NOTHING, Catalogue
from configs.settings import Settings
from features.arrays.array_types import Flags, Floats, Places
from features.definitions.labels import effect_days
from features.simulator.ground_truth import Scene, Truth, truth
from features.simulator.population import (
    LOST_BY_FAILURE,
    PAYMENT_FAILS,
    PRESSURE_LEFT,
    PROMOTION,
    RENEWAL,
    SLUMP_BEGINS,
    SLUMP_ENDS,
    Menu,
    People,
    Physics,
    State,
    contacted,
    daily_rates,
    on_promotion,
    renews,
)

START = date(2024, 1, 1)
REMOVES = 0.30  # chance that a user who leaves removes the app
LEVEL_START, LEVEL_END = "level_start", "level_end"  # progress, in the words of GA4
OPTS_OUT = 0.04  # chance that a message makes a user of irritability 1 opt out


@dataclass(frozen=True)
class Given:
    """What users get this morning: place in the menu or `NOTHING` per user, and the name of the decision.

    `is_other_way` tells who is told it by another variant of an experiment than its usual one; nobody where it is None.
    """

    option: Places
    decision_id: npt.NDArray[np.object_]
    is_other_way: Flags | None = None


@dataclass(frozen=True)
class World:
    """The simulated app at the start of a day; `live` returns the next one, so that a world can be branched."""

    catalogue: Catalogue
    physics: Physics
    seed: int
    day: int
    people: People
    state: State
    given: Given
    start: date = START
    has_levels: bool = False
    menu: Menu = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "menu", Menu.of(self.catalogue))

    @property
    def today(self) -> date:
        """Date of the day that begins."""
        return self.start + timedelta(days=self.day)

    @property
    def user_ids(self) -> npt.NDArray[np.object_]:
        """Ids of all users, shape (users,), in the order of every array of the world."""
        return ids_of(np.arange(len(self.people)))

    @property
    def is_member(self) -> Flags:
        """Who has joined and not left."""
        return self.state.here & (self.people.joined < self.day)

    def draws(self, purpose: str) -> np.random.Generator:
        """Random numbers of one day and purpose: the same whatever was decided."""
        return np.random.default_rng([self.seed, self.day, *purpose.encode()])

    def decide(self, given: Given) -> World:
        """Send out the decisions of the morning."""
        chance = self.draws("notice").random(len(self.people))
        appeal = 1.0 if given.is_other_way is None else np.where(given.is_other_way, 1.0 + self.physics.variant, 1.0)
        state = contacted(self.people, self.state, self.menu, given.option, chance, self.day, appeal)
        return replace(self, state=state, given=given)

    def live(self) -> tuple[World, Day]:
        """Live one day; returns the world of the next morning and what happened."""
        day = _live(self)
        return replace(self, day=self.day + 1, state=day.after), day

    def expected(self, settings: Settings) -> Truth:
        """Compute the truth about every option if it were sent now, over the horizons of the settings."""
        gross_margin = settings.value.gross_margin
        scene = Scene(self.people, self.state, self.physics, self.menu, self.day, self.today, gross_margin)
        return truth(scene, days=effect_days(settings), value_days=settings.value.horizon_days)


@dataclass(frozen=True)
class Day:
    """What happened to users on one day; flags and amounts have shape (users,)."""

    visits: Flags
    buys: Flags
    list_price: Floats
    price_off: Floats
    redeems: Flags
    due: Flags
    fails: Flags
    leaves: Flags
    removes: Flags
    opts_out: Flags
    after: State

    @property
    def discounts(self) -> Floats:
        """What offers gave away, account currency."""
        return np.where(self.redeems, self.price_off * self.list_price, 0.0)

    def margin(self, gross_margin: float) -> Floats:
        """Sum up what users brought before the discounts of offers, account currency."""
        paid = self.list_price * np.where(self.redeems, 1.0, 1.0 - self.price_off)
        return np.asarray(gross_margin * (np.where(self.buys, paid, 0.0) + RENEWAL * (self.due & ~self.fails)))


def _live(world: World) -> Day:
    """Draw one day of everybody."""
    people, state, day = world.people, world.state, world.day
    users = len(people)
    luck = world.draws("day").random((9, users))
    open_offer = np.where(day - state.since < np.r_[world.menu.valid_days, 0][state.option], state.option, NOTHING)
    rates = daily_rates(
        people, world.physics, world.menu, day, world.today.weekday(), slump=state.slump, pressure=state.pressure,
        option=open_offer, seen=state.seen, unused=state.unused,
    )  # fmt: skip
    present = state.here & (people.joined <= day)
    visits = present & ((luck[0] < rates.visit) | (people.joined == day))
    buys = visits & (luck[1] < rates.purchase)
    redeems = buys & state.unused & (open_offer != NOTHING)
    promoted = buys & ~redeems & (luck[2] < on_promotion(people))
    price_off = np.where(redeems, np.r_[world.menu.discount, 0.0][open_offer], np.where(promoted, PROMOTION, 0.0))
    due = present & renews(people, day)
    fails = due & (luck[3] < PAYMENT_FAILS)
    lost = fails & (luck[4] < LOST_BY_FAILURE)
    leaves = present & ((luck[5] < rates.leave) | lost)
    removes = leaves & (luck[6] < REMOVES)
    felt = present & (state.option != NOTHING) & (state.since == day)
    opts_out = felt & (luck[7] < OPTS_OUT * people.irritability * world.physics.message)
    slump = np.where(state.slump, luck[8] >= SLUMP_ENDS, luck[8] < SLUMP_BEGINS) & (people.joined <= day)
    noise = world.draws("basket").lognormal(-0.045, 0.3, users)
    after = replace(
        state,
        here=state.here & ~leaves,
        removed=state.removed | removes,
        slump=slump,
        pressure=state.pressure * PRESSURE_LEFT,
        reachable=state.reachable & ~opts_out,
        unused=state.unused & ~redeems,
    )
    return Day(visits, buys, people.basket * noise, price_off, redeems, due, fails, leaves, removes, opts_out, after)


def ids_of(numbers: Places) -> npt.NDArray[np.object_]:
    """Name users by their numbers."""
    return np.char.mod("u%07d", numbers).astype(object)
