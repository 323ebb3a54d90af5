"""Flow: weeks of decide, live, measure and retrain on the simulated app, beside simpler ways to spend the same budget.

Every policy starts on the same morning and meets the same chances (common random numbers). The simpler ones are told
the truth wherever they need a number: who is at risk, who redeems, what it costs, which of their options is best this
week. winback is told nothing and pays for its control group and its lots.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import date, timedelta

import numpy as np
import pyarrow.compute as pc
from prefect import flow, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from configs.errors import InputError
from configs.offers import NOTHING, Option
from configs.progress import announce
from configs.settings import Settings
from features.arrays.array_types import Floats, Places
from features.simulator.ground_truth import Truth
from features.simulator.simulated_day import Day, Given, World
from features.simulator.simulated_events import events_of
from features.storage.lake import Lake
from features.storage.parquet_files import read_parquet, write_parquet
from features.storage.whole_writes import write_bytes, write_text
from flows.build_features import aggregate, take_snapshots
from flows.measure_offers import measured_until
from flows.outcome import Outcome, remember_profile, writes_alone
from flows.score_users import decide_for_all
from flows.simulate import begin_world, check_request, open_world
from flows.train_models import collect_frames, train_outcomes, train_response, write_training
from models.metrics.metric import Metric
from models.registry.pictures import loop_picture
from serving.decide.day_tables import day_folder
from serving.knapsack.allocation import allocate

WEEK = 7
RETRAIN_EVERY = 4  # weeks
OURS, ORACLE, NOBODY = "winback", "oracle", "nobody"
EVERYBODY, RANDOM, AT_RISK = "everybody top discount", "random", "top risk gets a discount"
REDEEMERS, CONSTANT = "highest redemption propensity", "constant best"
RIVALS = (EVERYBODY, RANDOM, AT_RISK, REDEEMERS, CONSTANT)
Decide = Callable[[World, Truth], Given]


@dataclass(frozen=True)
class Week:
    """What a week brought in all, account currency; `left_over` is what those still here are worth at its end.

    `margin` is before the discounts of offers, `here` the share of the first morning's members who have not left.
    """

    margin: float
    discounts: float
    contacts: float
    treated: int
    left_over: float
    here: float

    @property
    def earned(self) -> float:
        """Margin less what offers cost."""
        return self.margin - self.discounts - self.contacts


@dataclass(frozen=True)
class Career:
    """What became of one policy, week by week; `deployed` is what winback's gate allowed in each week."""

    policy: str
    weeks: tuple[Week, ...]
    deployed: tuple[str, ...] = ()

    @property
    def values(self) -> Floats:
        """Earned up to the end of each week, and what is left over then; shape (weeks,)."""
        return np.cumsum([week.earned for week in self.weeks]) + np.array([week.left_over for week in self.weeks])

    @property
    def churn(self) -> float:
        """Share of the first morning's members who left."""
        return 1.0 - self.weeks[-1].here


@flow(name="closed-loop", flow_run_name="closed loop of {weeks} weeks", validate_parameters=False)
@writes_alone
def closed_loop(
    profile: str | None = "simulated",
    data_dir: str | None = None,
    users: int = 20_000,
    days: int = 84,
    random_weeks: int = 4,
    nothing_share: float = 0.2,
    seed: int | None = None,
    weeks: int = 8,
) -> Outcome:
    """Simulate an app into an empty folder, then let winback run it for some weeks, and every rival in its place."""
    settings, lake = open_world(profile, data_dir, seed)
    more_days = WEEK * weeks
    check_request(lake, users, days, random_weeks, nothing_share, more_days)
    if weeks < 1 or random_weeks < 1:
        raise InputError(
            f"--weeks {weeks} and --random-weeks {random_weeks}: a closed loop needs at least 1 week of policy and 1 "
            "of lots before it"
        )
    lake.files.require_writable()
    world = begin_world(
        settings, lake, users=users, days=days, random_weeks=random_weeks, nothing_share=nothing_share,
        more_days=more_days,
    )  # fmt: skip
    remember_profile(lake, profile)
    careers = [*live_rivals(settings, world, weeks), live_ours(settings, lake, world, weeks)]
    ends = world.today + timedelta(days=more_days)
    aggregate(settings, lake)
    measured = measured_until(settings, lake, ends)
    outputs = write_loop(lake, careers) | measured.outputs
    warnings = [*loop_notes(careers), *(f"measured on its own: {note}" for note in measured.warnings[:2])]
    outcome = Outcome("simulate", ends, loop_metrics(careers, users) | measured.metrics, outputs, warnings)
    create_markdown_artifact(outcome.markdown(), key="closed-loop")
    return outcome


@task(name="rivals", cache_policy=NO_CACHE)
def live_rivals(settings: Settings, world: World, weeks: int) -> list[Career]:
    """Let nobody, the simpler policies and the oracle decide, each in a world of its own."""
    announce("rivals that are told the truth")
    budget = settings.scoring.budget
    deciders: dict[str, Decide] = {NOBODY: lambda world, _: given_to(world, np.zeros(0, dtype=np.intp), 0)}
    deciders |= {name: _rival(name, budget) for name in RIVALS}
    deciders[ORACLE] = lambda world, truth: oracle(world, truth, budget)
    return [follow(name, world, weeks, decide, settings) for name, decide in deciders.items()]


@task(name="winback", cache_policy=NO_CACHE)
def live_ours(settings: Settings, lake: Lake, world: World, weeks: int) -> Career:
    """Let winback decide every week from events alone, and learn again every few weeks."""
    deployed: list[str] = []

    def decide(world: World, _: Truth) -> Given:
        announce(f"week {len(deployed) + 1} of {weeks}")
        as_of = world.today
        aggregate(settings, lake)
        take_snapshots(settings, lake, as_of)
        if len(deployed) % RETRAIN_EVERY == 0:
            deployed.append(retrain(settings, lake, as_of))
        else:
            deployed.append(deployed[-1])
        decide_for_all(settings, lake, as_of)
        return given_by(world, lake)

    def record(world: World, day: Day) -> None:
        write_parquet(events_of(world, day), lake.partition("events", world.today))

    career = follow(OURS, world, weeks, decide, settings, record)
    return Career(OURS, career.weeks, tuple(deployed))


def retrain(settings: Settings, lake: Lake, as_of: date) -> str:
    """Train every model on what is known; returns the policy that the gate deploys."""
    frames = collect_frames(settings, lake, as_of)
    published = train_outcomes(settings, lake, as_of, frames)
    responses, effects, verdict = train_response(settings, lake, as_of, frames)
    write_training(lake, as_of, published + responses, effects, verdict)
    return str(verdict.deployed) if verdict is not None else NOBODY


def follow(
    name: str, world: World, weeks: int, decide: Decide, settings: Settings,
    record: Callable[[World, Day], None] | None = None,
) -> Career:  # fmt: skip
    """Live some weeks under a policy that decides every week's first morning.

    Parameters
    ----------
    record
        Is shown every day, with the world in which it began.
    """
    members, gross_margin = world.is_member, settings.value.gross_margin
    truth, past = world.expected(settings), []
    for _ in range(weeks):
        world = world.decide(decide(world, truth))
        sent = world.state.option
        margin = discounts = 0.0
        for _ in range(WEEK):
            morning = world
            world, day = morning.live()
            margin += float(day.margin(gross_margin).sum())
            discounts += float(day.discounts.sum())
            if record is not None:
                record(morning, day)
        truth = world.expected(settings)
        contacts = float(np.r_[world.menu.contact_cost, 0.0][sent].sum())
        left_over = float(truth.remaining_value[world.is_member].sum())
        here = float(world.state.here[members].mean())
        past.append(Week(margin, discounts, contacts, int((sent != NOTHING).sum()), left_over, here))
    return Career(name, tuple(past))


def oracle(world: World, truth: Truth, budget: float) -> Given:
    """Decide as one who knows what every option changes for every user this week, under the same budget."""
    members = np.flatnonzero(world.is_member)
    choice = allocate(truth.value[members], truth.cost[members], budget).choice
    return given_to(world, members[choice != NOTHING], choice[choice != NOTHING])


def _rival(name: str, budget: float) -> Decide:
    """Spend the budget on members in some order, by the one of the policy's options that is truly best this week."""

    def decide(world: World, truth: Truth) -> Given:
        members = np.flatnonzero(world.is_member)
        filled = [
            _filled(members[order], option, truth, budget) for order, option in _candidates(name, world, truth, members)
        ]
        users, option = max(filled, key=lambda pair: float(truth.value[pair].sum()))
        return given_to(world, users, option)

    return decide


def _candidates(name: str, world: World, truth: Truth, members: Places) -> Iterator[tuple[Places, Places]]:
    """List a rival's ways to go: an order of the members and the option of each in that order."""
    rng, discount = world.draws("rival"), world.menu.discount
    by_chance = rng.permutation(len(members))
    if name == RANDOM:
        yield by_chance, rng.integers(0, len(discount), len(members))
        return
    allowed = {EVERYBODY: discount == discount.max(), CONSTANT: discount >= 0}.get(name, discount > 0)
    for place in np.flatnonzero(allowed):
        order = by_chance
        if name == AT_RISK:
            order = np.argsort(truth.stays[members], kind="stable")
        elif name == REDEEMERS:
            order = np.argsort(-truth.p_redeem[members, place], kind="stable")
        yield order, np.full(len(members), place, dtype=np.intp)


def _filled(users: Places, option: Places, truth: Truth, budget: float) -> tuple[Places, Places]:
    """Keep the first users whose options the budget pays for together."""
    paid = np.cumsum(truth.cost[users, option]) <= budget
    return users[paid], option[paid]


def given_to(world: World, users: Places, option: Places | int) -> Given:
    """Give some users their option and everybody else nothing."""
    everybody = np.full(len(world.people), NOTHING, dtype=np.intp)
    everybody[users] = option
    return Given(everybody, np.full(len(everybody), None, dtype=object))


def given_by(world: World, lake: Lake) -> Given:
    """Read this morning's decisions."""
    decisions = read_parquet(day_folder(lake, world.today) / "decisions.parquet")
    users = pc.cast(pc.utf8_slice_codeunits(decisions["user_id"], 1), "int64").to_numpy()
    places = {option: place for place, option in enumerate(world.catalogue.options)}
    pairs = zip(decisions["offer_id"].to_pylist(), decisions["discount"].to_pylist(), strict=True)
    given = given_to(world, users, np.array([places.get(Option(*pair), NOTHING) for pair in pairs], dtype=np.intp))
    given.decision_id[users] = decisions["decision_id"].to_numpy(zero_copy_only=False)
    return given


def loop_metrics(careers: list[Career], users: int) -> dict[str, Metric]:
    """Compare every policy with nobody and with the oracle."""
    by_name = {career.policy: career for career in careers}
    nobody, best = by_name[NOBODY], by_name[ORACLE]
    most = best.values[-1] - nobody.values[-1]
    metrics: dict[str, Metric] = {}
    for career in careers:
        gain = float(career.values[-1] - nobody.values[-1])
        figures = {
            "gain": gain,
            "share_of_oracle": gain / most if most > 0 else float("nan"),
            "discounts": sum(week.discounts for week in career.weeks),
            "contacts": sum(week.contacts for week in career.weeks),
            "churn": career.churn,
            "churn_change": career.churn / nobody.churn - 1 if nobody.churn else float("nan"),
        }
        subject = career.policy.replace(" ", "_")
        metrics |= {f"{subject}.{name}": Metric.exact(figure, users) for name, figure in figures.items()}
    return metrics


def loop_notes(careers: list[Career]) -> list[str]:
    """Say what a person should know about a loop."""
    ours = next(career for career in careers if career.policy == OURS)
    changes = [f"week {place + 1}: {name}" for place, name in enumerate(ours.deployed) if place % RETRAIN_EVERY == 0]
    return [f"the gate deployed {'; '.join(changes)}", "one world is one sample: compare several seeds"]


def write_loop(lake: Lake, careers: list[Career]) -> dict[str, str]:
    """Keep every week of every policy, and their picture."""
    with lake.whole_folder("closed_loop") as folder:
        weeks = {career.policy: [asdict(week) for week in career.weeks] for career in careers}
        write_text(folder / "weeks.json", json.dumps(weeks, indent=1) + "\n")
        nobody = next(career for career in careers if career.policy == NOBODY)
        gains = {career.policy: career.values - nobody.values for career in careers}
        churned = {career.policy: 1 - np.array([week.here for week in career.weeks]) for career in careers}
        write_bytes(folder / "closed_loop.png", loop_picture(gains, churned, ours=OURS, best=ORACLE, none=NOBODY))
    place = lake.path("closed_loop")
    return {"weeks": str(place / "weeks.json"), "picture": str(place / "closed_loop.png")}
