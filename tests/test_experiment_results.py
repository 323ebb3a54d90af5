"""Experiments from the ledger to their verdict: counted by hand, by each user's first contact, for people to read."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from apps import App
from test_measure_offers import CLOSED, DAY, SETTINGS, app_of, bought, entry

from configs.errors import InputError
from features.tables.parquet_files import read_parquet
from models.judge.experiment_verdict import ExperimentResult, VariantResult, result_facts
from models.metrics.metric import Metric
from serving.cubes.experiment_words import english, experiment_lines, verdict_words
from serving.cubes.kept_experiments import newest_results, results_as_json
from serving.offer_measurement.closed_variants import experiment_results
from serving.stored_days.decision_moment import DecisionMoment
from serving.stored_days.ledger import SCHEMA, entries, entry_name

OFFERS = """[come_back]
title = "Come back"
play = "p"
channel = "push"
message = "{{ discount }} off until {{ last_day }}."
discounts = [0.1]
valid_days = 7
contact_cost = 0.004
covered_spend = 10.0

[come_back.experiment]
name = "tone"
measured_by = "MEASURE"
smallest_effect = 0.02

[[come_back.experiment.variants]]
name = "usual"
share = 0.5

[[come_back.experiment.variants]]
name = "short"
share = 0.5
message = "{{ discount }} off."
"""
USUAL, SHORT = [f"a{number:03d}" for number in range(120)], [f"b{number:03d}" for number in range(120)]


def drew(user: str, variant: str, day=DAY, arm: str = "policy") -> dict[str, object]:
    return {**entry(user, arm, day, gets=True), "experiment": "tone", "variant": variant}


def world() -> tuple[list, list]:
    """Of 120 each 30 and 90 buy for 10; whoever is written to again is in it once, whatever they get then."""
    first = [drew(user, "usual") for user in USUAL] + [drew(user, "short") for user in SHORT]
    again = [drew(user, "short", DAY + timedelta(days=7), "by_rule") for user in USUAL[:50]]
    others = [entry(f"c{number}", "control") for number in range(20)]
    buyers = [*USUAL[:30], *SHORT[:90]]
    events = [bought(user, -3, 20.0) for user in USUAL + SHORT] + [bought(user, 20, 10.0) for user in buyers]
    events += [bought(user, 20, 1000.0) for user in ("c1", "c2")]
    return events, [*first, *again, *others]


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> App:
    folder = tmp_path_factory.mktemp("experiments")
    (folder / "own.toml").write_text(OFFERS.replace("MEASURE", "conversion"), encoding="utf-8")
    return app_of(folder, *world(), offers=str(folder / "own.toml"), **SETTINGS)


def measured_by(app: App, measure: str, folder: Path) -> ExperimentResult:
    (folder / "own.toml").write_text(OFFERS.replace("MEASURE", measure), encoding="utf-8")
    settings = app.settings.model_copy(update={"offers": str(folder / "own.toml")})
    (found,) = experiment_results(settings, app.lake, CLOSED)
    return found


def test_users_are_counted_once_by_what_they_drew_first_and_the_better_variant_is_named(app: App) -> None:
    (found,) = experiment_results(app.settings, app.lake, CLOSED)
    assert [(each.name, each.exposed, each.closed, each.mean) for each in found.variants] == [
        ("usual", 120, 120, 0.25), ("short", 120, 120, 0.75)
    ]  # fmt: skip
    assert (found.state, found.winner, found.first_day, found.split_doubt) == ("won", "short", DAY, 1.0)
    effect = found.variants[1].effect
    assert effect is not None
    assert effect.value == pytest.approx(0.5, abs=0.02)
    assert effect.low > 0.1
    assert effect.n == 240


@pytest.mark.parametrize(("measure", "means"), [("margin", (0.25 * 3 - 0.004, 0.75 * 3 - 0.004)),
                                                ("retention", (0.25, 0.75)), ("redemption", (0.0, 0.0))])  # fmt: skip
def test_every_measure_is_what_the_ledger_and_the_events_say(app: App, measure, means, tmp_path) -> None:
    found = measured_by(app, measure, tmp_path)
    again = [0.004 * 50 / 120, 0.0] if measure == "margin" else [0.0, 0.0]  # what the second contact cost
    assert [each.mean for each in found.variants] == pytest.approx([a - b for a, b in zip(means, again, strict=True)])
    assert (found.winner is not None) == (measure != "redemption")


def test_before_an_outcome_is_known_it_counts_who_drew_and_says_not_yet(app: App) -> None:
    (found,) = experiment_results(app.settings, app.lake, DAY + timedelta(days=5))
    assert [(each.exposed, each.closed, each.mean) for each in found.variants] == [(120, 0, None), (120, 0, None)]
    assert verdict_words(found, english("EUR")) == "not yet: 0 users, too few for a guess how many it takes"


def test_the_daily_measuring_keeps_what_the_command_says(app: App) -> None:
    measured = experiment_results(app.settings, app.lake, CLOSED)
    kept_as = f"measurements/day={CLOSED}/experiments.json"
    app.lake.files.publish_file(kept_as, results_as_json(CLOSED, measured).encode())
    day, kept = newest_results(app.lake, CLOSED + timedelta(days=3))
    assert day == CLOSED
    assert [each.winner for each in kept] == ["short"]
    assert kept[0].variants[1].effect == measured[0].variants[1].effect.rounded()
    assert newest_results(app.lake, CLOSED - timedelta(days=1)) == (None, [])


def test_entries_of_an_older_winback_are_read_as_in_no_experiment(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text(OFFERS.replace("MEASURE", "conversion"), encoding="utf-8")
    app = app_of(tmp_path, *world(), offers=str(tmp_path / "own.toml"), **SETTINGS)
    name = entry_name(DecisionMoment.of_night(DAY, app.settings.time_zone))
    path = next(path for path in app.settings.data_dir.glob("ledger/day=*/*.parquet") if str(DAY) in str(path))
    old = read_parquet(path, [each for each in SCHEMA.names if each not in ("experiment", "variant")])
    pa.parquet.write_table(old, path)
    app.lake.files.accept(str(path.relative_to(app.settings.data_dir)))
    (found,) = experiment_results(app.settings, app.lake, CLOSED)
    assert [each.exposed for each in found.variants] == [0, 50], name  # the second contact is the first known
    assert entries(app.lake, DAY, CLOSED)["experiment"].null_count == 260


def result(state: str, closed: int = 400, needed: int | None = 3_000, **changes: object) -> ExperimentResult:
    effects = Metric(0.01, -0.02, 0.04, closed), Metric(0.06, 0.01, 0.11, closed)
    variants = (VariantResult("usual", 0.5, closed, closed // 2, 0.2, None),
                VariantResult("short", 0.5, closed, closed // 2, 0.21, effects[state == "won"]))  # fmt: skip
    winner = "short" if state == "won" else None
    base = ExperimentResult("tone", "cart", "Your cart", "conversion", True, DAY, variants, state, winner, needed, 0.02,
                            0.5, 0.12)  # fmt: skip
    return replace(base, **changes)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (result("not_yet"), "not yet, 400 users of about 3,000 that it takes to find a difference of 2 points"),
        (result("not_yet", 4_000), "not yet, 4,000 users of about 3,000: the variants are nearly alike"),
        (result("won"), "short is better: +6.00 [+1.00, +11.00] points beside usual; make it the play's own"),
        (result("alike"), "no difference of 2 points or more between any two, over 400 users: keep what is simpler"),
        (result("uneven", split_doubt=2e-5), "no verdict: the split is uneven beyond chance (p = 2e-05)"),
        (result("nobody_yet"), "nobody was given the play yet"),
    ],
)  # fmt: skip
def test_a_verdict_says_what_is_known_and_what_to_do(found: ExperimentResult, said: str) -> None:
    assert verdict_words(found, english("EUR")).startswith(said)
    page = "\n".join(experiment_lines([found], CLOSED, 28, "EUR"))
    assert said in page
    assert "explains 12%" in page
    assert result_facts(found)["variants"][1]["name"] == "short"


def test_without_an_experiment_the_page_says_how_one_begins() -> None:
    assert "[PLAY.experiment]" in "\n".join(experiment_lines([], CLOSED, 28, "EUR"))


def test_two_plays_share_no_experiment(tmp_path: Path) -> None:
    twice = OFFERS.replace("MEASURE", "margin") + OFFERS.replace("MEASURE", "margin").replace("come_back", "other")
    (tmp_path / "own.toml").write_text(twice, encoding="utf-8")
    from configs.offers import load_catalogue

    with pytest.raises(InputError, match=r"two plays of .* have an experiment 'tone'"):
        load_catalogue(str(tmp_path / "own.toml"))
