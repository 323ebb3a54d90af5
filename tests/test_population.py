"""The simulated world: its truth is what a simulation shows, and its knobs do what they say."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from configs.offers import NOTHING, load_catalogue
from configs.settings import Settings, load_settings
from features.definitions.labels import effect_days
from features.simulator.ground_truth import Truth
from features.simulator.population import PROMOTION, SEGMENTS, Physics, on_promotion
from features.simulator.simulated_day import Given, World
from features.simulator.simulated_events import simulate_day
from features.simulator.simulator_run import at_random, new_world

SETTINGS = load_settings("simulated")
CATALOGUE = load_catalogue("simulated")
USERS, AGE, SEEDS = 12_000, 24, 4
OPTIONS = {f"{option.offer_id} {option.discount:.0%}": place for place, option in enumerate(CATALOGUE.options)}
TOLERANCE = 4.0  # standard errors; the seeds are fixed


@dataclass(frozen=True)
class Lived:
    """What each user did in some days; arrays have shape (users,)."""

    margin: np.ndarray
    redeemed: np.ndarray
    given: np.ndarray
    contact: np.ndarray
    here: np.ndarray
    world: World


@pytest.fixture(scope="module")
def aged() -> World:
    """A world in full life: offers at random a week ago, some of them still unused, some people opted out."""
    world = new_world(SETTINGS, CATALOGUE, USERS, days=AGE)
    for day in range(AGE + 7):
        if day == AGE:
            given, _ = at_random(world, 0.2)
            world = world.decide(given)
        world, _ = simulate_day(world)
    return world


@pytest.fixture(scope="module")
def known(aged: World) -> Truth:
    return aged.expected(SETTINGS)


def everybody(world: World, option: int) -> Given:
    """Give one option, or `NOTHING`, to every member."""
    chosen = np.where(world.is_member, option, NOTHING).astype(np.intp)
    return Given(chosen, np.array([f"d-{user}" for user in world.user_ids], dtype=object))


def live(world: World, days: int, settings: Settings = SETTINGS) -> Lived:
    """Live some days and count like the labels do."""
    users = len(world.people)
    margin, redeemed, given = np.zeros(users), np.zeros(users), np.zeros(users)
    contact = np.r_[world.menu.contact_cost, 0.0][world.state.option]
    for _ in range(days):
        world, events = simulate_day(world)
        user, name, amount, discount = columns_of(events)
        is_redeem = np.isin(name, settings.roles.offer_redeem)
        spent = np.where(np.isin(name, settings.roles.value), amount, 0.0) + np.where(is_redeem, discount, 0.0)
        margin += settings.value.gross_margin * np.bincount(user, spent, users)
        redeemed += np.bincount(user, is_redeem, users)
        given += np.bincount(user, np.where(is_redeem, discount, 0.0), users)
    return Lived(margin, redeemed, given, contact, world.state.here.astype(float), world)


def columns_of(events: pa.Table) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    user = pc.utf8_slice_codeunits(events["user_id"], 1).cast(pa.int64()).to_numpy()
    name = events["event_name"].to_numpy().astype(str)
    money = (events[column].fill_null(0.0).to_numpy() for column in ("amount", "discount"))
    return user, name, *money


def standard_errors(errors: np.ndarray) -> float:
    """How many standard errors the mean of some errors is away from 0."""
    return float(abs(errors.mean()) / max(errors.std() / np.sqrt(len(errors)), 1e-12))


def off_target(world: World, seen: np.ndarray, truths: np.ndarray) -> dict[str, float]:
    """Standard errors between what was seen, shape (seeds, users), and the truth: over all members, and some."""
    member, segment = world.is_member, world.people.segment
    groups = {"everybody": member, "opted out": member & ~world.state.reachable}
    groups |= {name: member & (segment == place) for place, name in enumerate(SEGMENTS)}
    return {name: standard_errors((seen - truths)[:, rows].ravel()) for name, rows in groups.items()}


# --- the truth is what a simulation shows ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def branches(aged: World) -> dict[int, list[Lived]]:
    """The same members, given nothing, an offer with a discount and one without, in a few futures."""
    chosen = (NOTHING, OPTIONS["come_back 30%"], OPTIONS["favourites 0%"])
    futures = [replace(aged, seed=1000 + seed) for seed in range(SEEDS)]
    days = effect_days(SETTINGS)
    return {option: [live(world.decide(everybody(world, option)), days) for world in futures] for option in chosen}


@pytest.mark.parametrize("name", ["come_back 30%", "favourites 0%"])
def test_the_truth_about_an_option_is_what_a_simulation_shows(aged, known, branches, name):
    place = OPTIONS[name]
    treated, quiet = branches[place], branches[NOTHING]

    def seen(measure: str) -> np.ndarray:
        return np.array(
            [getattr(one, measure) - getattr(two, measure) for one, two in zip(treated, quiet, strict=True)]
        )

    pairs = {
        "margin": (seen("margin"), known.margin),
        "retention": (seen("here"), known.retention),
        "redeemed": (seen("redeemed"), known.p_redeem),
        "cost": (seen("given") + seen("contact"), known.cost),
    }
    for measure, (shown, truths) in pairs.items():
        off = off_target(aged, shown, truths[:, place])
        assert max(off.values()) < TOLERANCE, (measure, off)


def test_the_comparison_could_have_failed(aged, known, branches):
    """The errors are small enough to tell one option's truth from another's, in every measure that should differ."""
    treated, quiet = branches[OPTIONS["come_back 30%"]], branches[NOTHING]
    shown = np.array([one.margin - two.margin for one, two in zip(treated, quiet, strict=True)])
    assert off_target(aged, shown, known.margin[:, OPTIONS["come_back 0%"]])["everybody"] > 2 * TOLERANCE
    here = np.array([one.here - two.here for one, two in zip(treated, quiet, strict=True)])
    assert off_target(aged, here, np.zeros(USERS))["persuadable"] > 2 * TOLERANCE
    assert off_target(aged, here, np.zeros(USERS))["sleeping dog"] > 2 * TOLERANCE


def test_who_is_left_alone_stays_and_goes_on_paying_as_the_truth_says(aged, known, branches):
    here = np.array([one.here for one in branches[NOTHING]])
    off = off_target(aged, here, known.stays)
    assert max(off.values()) < TOLERANCE, off
    later = live(branches[NOTHING][0].world, SETTINGS.value.horizon_days)
    off = off_target(aged, later.margin[None], known.stays * known.remaining_value)
    assert max(off.values()) < TOLERANCE, off


def test_renewals_and_payments_that_fail_are_in_the_truth(aged, known):
    payers = replace(aged, people=replace(aged.people, subscribed=np.ones(USERS, dtype=bool)))
    futures = [replace(payers, seed=2000 + seed).decide(everybody(payers, NOTHING)) for seed in range(SEEDS)]
    lives = [live(world, effect_days(SETTINGS)) for world in futures]
    here = np.array([one.here for one in lives])
    assert off_target(payers, here, payers.expected(SETTINGS).stays)["everybody"] < TOLERANCE
    assert off_target(payers, here, known.stays)["sure thing"] > TOLERANCE  # where few have subscribed


def test_nobody_who_has_left_is_worth_a_contact(aged, known):
    gone = ~aged.state.here
    assert gone.sum() > 100
    for table in (known.p_redeem, known.margin, known.retention, known.cost, known.value):
        assert not table[gone].any()


def test_a_push_to_somebody_who_opted_out_changes_and_costs_nothing(aged, known):
    deaf = ~aged.state.reachable
    push = [channel == "push" for channel in aged.menu.channel]
    assert deaf.sum() > 50
    for table in (known.p_redeem, known.margin, known.retention, known.cost):
        assert np.allclose(table[deaf][:, push], 0.0, atol=1e-12)
    assert known.p_redeem[deaf & aged.is_member][:, OPTIONS["favourites 15%"]].min() > 0


def test_contacts_keep_the_persuadable_and_drive_sleeping_dogs_away(aged, known):
    mean = {
        name: known.retention[aged.is_member & (aged.people.segment == place)].mean(axis=0)
        for place, name in enumerate(SEGMENTS)
    }
    assert mean["persuadable"].min() > 0.01
    assert mean["sleeping dog"].max() < -0.005
    assert np.abs(mean["sure thing"]).max() < 0.001


# --- the knobs ------------------------------------------------------------------------------------------------


def test_a_world_without_effects_has_nothing_to_learn_but_costs(aged):
    null = replace(aged, physics=Physics(message=0, discount=0)).expected(SETTINGS)
    assert np.allclose(null.retention, 0.0, atol=1e-12)
    # who redeems does so instead of the everyday promotion, whose discount is then not given
    spared = SETTINGS.value.gross_margin * aged.people.basket * on_promotion(aged.people) * PROMOTION
    assert np.allclose(null.margin, null.p_redeem * spared[:, None], atol=1e-9)
    free = aged.menu.discount == 0
    assert np.allclose(null.margin[:, free], 0.0, atol=1e-12)
    paid = null.cost[aged.is_member & aged.state.reachable][:, ~free]
    assert paid.min() > 0
    assert null.value[:, ~free].max() <= 0


def test_without_pull_more_discount_never_helps(aged):
    offers = [np.array([name.startswith(offer) for name in OPTIONS]) for offer in ("come_back", "favourites", "basket")]
    null, real = (world.expected(SETTINGS).value for world in (replace(aged, physics=Physics(discount=0)), aged))
    for own in offers:
        assert np.all(np.diff(null[:, own], axis=1) <= 1e-12)
        assert np.diff(real[:, own], axis=1).max() > 0.5


def test_without_the_message_only_the_money_works(aged):
    known = replace(aged, physics=Physics(message=0)).expected(SETTINGS)
    free = aged.menu.discount == 0
    assert np.allclose(known.retention[:, free], 0.0, atol=1e-12)
    persuadable = aged.is_member & aged.state.reachable & (aged.people.segment == SEGMENTS.index("persuadable"))
    assert known.retention[persuadable][:, ~free].min() > 0


def test_the_truth_of_some_users_is_their_part_of_the_truth_of_all(aged, known):
    rows = np.array([5, 17, 4321])
    few = replace(aged, people=aged.people.some(rows), state=aged.state.some(rows)).expected(SETTINGS)
    for name, table in vars(few).items():
        assert np.array_equal(table, getattr(known, name)[rows]), name


def test_another_way_of_saying_it_is_noticed_as_much_more_as_the_world_was_told(aged):
    other_way = np.random.default_rng(4).random(USERS) < 0.5
    given = replace(everybody(aged, OPTIONS["favourites 0%"]), is_other_way=other_way)
    worlds = {effect: replace(aged, physics=replace(aged.physics, variant=effect)) for effect in (-1.0, -0.5, 0.0)}
    seen = {effect: world.decide(given).state.seen for effect, world in worlds.items()}
    usual = {effect: each[~other_way & aged.is_member].mean() for effect, each in seen.items()}
    other = {effect: each[other_way & aged.is_member].mean() for effect, each in seen.items()}
    assert usual[-1.0] == usual[-0.5] == usual[0.0] > 0.5
    assert other[-1.0] == 0.0
    assert other[-0.5] == pytest.approx(0.5 * other[0.0], rel=0.1)
    assert (seen[0.0] == aged.decide(everybody(aged, OPTIONS["favourites 0%"])).state.seen).all()
