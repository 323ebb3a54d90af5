"""What every option would change for every user of the simulated app: computed, not simulated.

A user's chances follow a Markov chain of four states, in a slump or not and with an offer still to use or not, day by
day; what chance decides at once (is the message noticed?) is a mixture of two such courses.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np

from configs.offers import NOTHING
from features.arrays.array_types import Flags, Floats, Places
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
    daily_rates,
    noticed,
    on_promotion,
    renews,
)

Mass = dict[tuple[bool, bool], Floats]  # chance of each state: in a slump, offer unused; each (users,)


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
class Scene:
    """What every course of events has in common; `day` is the number of its first day and `today` that day's date."""

    people: People
    state: State
    physics: Physics
    menu: Menu
    day: int
    today: date
    gross_margin: float


@dataclass(frozen=True)
class _Message:
    """What users were sent this morning, whether it reached them (0 or 1) and whether they noticed it."""

    option: Places
    felt: Floats
    is_seen: bool


@dataclass(frozen=True)
class _Course:
    """Expectations along one course of events; arrays have shape (users,)."""

    redeemed: Floats
    margin: Floats
    given: Floats
    stays: Floats


def truth(scene: Scene, *, days: int, value_days: int) -> Truth:
    """Compute what each option, sent this morning and followed by nothing, would change for every user.

    Parameters
    ----------
    days
        Horizon of the incremental terms.
    value_days
        Length of the window over which staying is worth something, beginning at the end of the horizon.
    """
    people, state, menu = scene.people, scene.state, scene.menu
    users = len(people)
    nothing = np.full(users, NOTHING, dtype=np.intp)
    left_alone = _Message(nothing, np.zeros(users), is_seen=False)
    quiet, long = (_expected(scene, left_alone, span) for span in (days, days + value_days))
    remaining_value = (long.margin - quiet.margin) / np.maximum(quiet.stays, 1e-9)
    redeemed, margin, retention, cost = (np.zeros((users, len(menu))) for _ in range(4))
    ignored: dict[bool, _Course] = {}
    for place in range(len(menu)):
        option = np.full(users, place, dtype=np.intp)
        is_push = menu.channel[place] == "push"
        felt = np.where(state.reachable | (not is_push), 1.0, 0.0)
        if is_push not in ignored:
            ignored[is_push] = _expected(scene, _Message(nothing, felt, is_seen=False), days)
        seen, unseen = _expected(scene, _Message(option, felt, is_seen=True), days), ignored[is_push]
        share = felt * noticed(people, menu, option)
        redeemed[:, place] = share * seen.redeemed
        margin[:, place] = share * seen.margin + (1 - share) * unseen.margin - quiet.margin
        retention[:, place] = share * seen.stays + (1 - share) * unseen.stays - quiet.stays
        cost[:, place] = share * seen.given + menu.contact_cost[place] * felt
    for table in (redeemed, margin, retention, cost):
        table[~state.here] = 0.0
    here = state.here.astype(np.float64)
    return Truth(redeemed, margin, retention, cost, remaining_value * here, quiet.stays * here)


def _expected(scene: Scene, message: _Message, days: int) -> _Course:
    """Follow the chances of every state for some days."""
    users, price = len(scene.people), np.r_[scene.menu.discount, 0.0][message.option]
    usable = message.is_seen & (price > 0)
    mass: Mass = {
        (slump, unused): np.where((scene.state.slump == slump) & (usable == unused), 1.0, 0.0)
        for slump in (False, True)
        for unused in (False, True)
    }
    redeemed, margin, given = np.zeros(users), np.zeros(users), np.zeros(users)
    pressure = scene.state.pressure + message.felt
    for ahead in range(days):
        is_open = (message.option != NOTHING) & (ahead < np.r_[scene.menu.valid_days, 0][message.option])
        mass, brought, used = _lived(scene, message, _expired(mass, is_open), ahead, is_open, pressure)
        margin += brought
        redeemed += used
        given += used * price * scene.people.basket
        pressure = pressure * PRESSURE_LEFT
    return _Course(redeemed, margin, given, np.asarray(sum(mass.values())))


def _expired(mass: Mass, is_open: Flags) -> Mass:
    """Take away what is over and cannot be used any more."""
    kept = {}
    for slump in (False, True):
        kept[slump, False] = mass[slump, False] + np.where(is_open, 0.0, mass[slump, True])
        kept[slump, True] = np.where(is_open, mass[slump, True], 0.0)
    return kept


def _lived(
    scene: Scene, message: _Message, mass: Mass, ahead: int, is_open: Flags, pressure: Floats
) -> tuple[Mass, Floats, Floats]:
    """Live one day: the chances of the next morning, the margin it brought and the offers that were used."""
    people, day, weekday = scene.people, scene.day + ahead, (scene.today + timedelta(days=ahead)).weekday()
    due = renews(people, day)
    paid = scene.gross_margin * people.basket * (1 - on_promotion(people) * PROMOTION)
    left = {state: np.zeros(len(people)) for state in mass}
    margin, redeemed = np.zeros(len(people)), np.zeros(len(people))
    for (slump, unused), chance in mass.items():
        rates = daily_rates(
            people, scene.physics, scene.menu, day, weekday, slump=slump, pressure=pressure,
            option=np.where(is_open, message.option, NOTHING), seen=message.is_seen, unused=unused,
        )  # fmt: skip
        bought = chance * rates.visit * rates.purchase
        used = bought if unused else np.zeros(len(people))
        margin += bought * np.where(unused & is_open, scene.gross_margin * people.basket, paid)
        margin += chance * due * scene.gross_margin * RENEWAL * (1 - PAYMENT_FAILS)
        redeemed += used
        stays = (1 - rates.leave) * (1 - due * PAYMENT_FAILS * LOST_BY_FAILURE)
        left[slump, False] += used * stays
        left[slump, unused] += (chance - used) * stays
    turned = {
        (slump, unused): left[slump, unused] * (1 - (SLUMP_ENDS if slump else SLUMP_BEGINS))
        + left[not slump, unused] * (SLUMP_BEGINS if slump else SLUMP_ENDS)
        for slump, unused in left
    }
    return turned, margin, redeemed
