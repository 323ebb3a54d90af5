"""The main job on real input: the whole demo once, the bars it must meet, and the documents that speak of it."""

from __future__ import annotations

import gzip
import json
import os
import re
import shlex
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

import duckdb
import pytest
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from configs.offers import load_catalogue
from configs.settings import DATA_DIR_VARIABLE, load_settings
from features.definitions.labels import outcome_labels
from features.materialise.as_of_view import open_as_of
from features.storage.lake import Lake
from features.training_data.feature_store import open_store
from features.training_data.frames import redemption_frame
from flows.cli import app
from flows.serve_desk import open_desk
from serving.desk.desk_app import PAGES, make_desk_app
from serving.desk.visitors import Authenticator
from serving.wording.language_file import load_language

AS_OF = date(2018, 1, 1)
pytestmark = pytest.mark.xdist_group("demo")
MEANT_FOR_A_PERSON = ("app", "demo", "schedule", "ingest", "promote", "rollback", "simulate", "unpin")
ELSEWHERE = (*MEANT_FOR_A_PERSON, "train-models", "forget")  # test_cli.py runs them on a small app


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, dict]]:
    """The demo's data folder and what it printed for machines."""
    folder = tmp_path_factory.mktemp("demo") / "data"
    result = CliRunner().invoke(app, ["demo", "--data-dir", str(folder), "--json"])
    assert result.exit_code == 0, result.stderr
    yield folder, json.loads(result.stdout)


@pytest.fixture
def metrics(demo: tuple[Path, dict]) -> dict[str, dict[str, float]]:
    return demo[1]["metrics"]


def test_churn_is_ranked_well_out_of_time_and_out_of_users(metrics: dict[str, dict[str, float]]) -> None:
    assert metrics["churn.auc"]["n"] == 2317
    assert metrics["churn.auc"]["value"] >= 0.870
    assert metrics["churn.auc"]["low"] > metrics["churn.auc_recency"]["value"]


def test_every_figure_is_said_in_words(metrics: dict[str, dict[str, float]]) -> None:
    for language in (load_language("en"), load_language("de")):
        assert [name for name in metrics if not language.metric(name)] == []


def test_churn_is_calibrated(metrics: dict[str, dict[str, float]]) -> None:
    assert metrics["churn.ece"]["value"] <= 0.03


def test_redemption_is_ranked_well_on_later_campaigns(metrics: dict[str, dict[str, float]]) -> None:
    assert metrics["redemption.auc"]["n"] == 2954
    assert metrics["redemption.auc"]["value"] >= 0.775
    assert metrics["redemption.auc"]["value"] > metrics["redemption.auc_past_redemptions"]["value"]


def test_every_household_gets_a_decision_within_the_budget(demo: tuple[Path, dict]) -> None:
    folder, answer = demo
    path = folder / "decisions" / "day=2018-01-01" / "decisions.parquet"
    query = f"SELECT count(*), count(DISTINCT user_id), sum(expected_cost) FROM read_parquet('{path}')"
    rows, users, cost = duckdb.sql(query).fetchone()
    assert rows == users == 2469
    assert cost == pytest.approx(answer["metrics"]["budget.expected_cost"]["value"], abs=1e-5)
    assert cost <= answer["metrics"]["budget.limit"]["value"]


def test_the_desk_of_the_demo_has_every_page_and_the_reports_own_numbers(demo: tuple[Path, dict]) -> None:
    client = TestClient(make_desk_app(open_desk(None, str(demo[0])), Authenticator()), base_url="http://127.0.0.1")
    pages = {name: client.get(f"/{name}") for name in (*PAGES, "people/1238", "report", "what-if?budget_share=0.01")}
    assert {name: answer.status_code for name, answer in pages.items()} == dict.fromkeys(pages, 200)
    metrics = demo[1]["metrics"]
    assert f"About {metrics['users.expected_to_leave']['value']:,.0f} of" in pages["today"].text
    assert f"<strong>{metrics['users.at_risk']['value']:,.0f}</strong>" in pages["today"].text
    assert f"<strong>{metrics['users.with_offer']['value']:,.0f}</strong>" in pages["today"].text
    assert max(len(gzip.compress(answer.content)) for name, answer in pages.items() if name != "report") < 100_000
    plays = client.get("/plays").text
    assert "Not active for 91 days" in plays and "unknown days" not in plays


def test_the_demo_says_where_everything_is(demo: tuple[Path, dict]) -> None:
    outputs = demo[1]["outputs"]
    assert Path(outputs["report"]).is_file()
    assert Path(outputs["users at risk"]).is_file()
    assert Path(outputs["decisions"]).is_file()
    assert Path(outputs["mlflow"].removeprefix("sqlite:///")).is_file()


def test_mlflow_holds_metrics_with_intervals_pictures_and_aliases(demo: tuple[Path, dict]) -> None:
    from models.registry.tracking import connect

    client = connect(Lake(demo[0]))
    version = client.get_model_version_by_alias("winback-churn", "champion")
    run = client.get_run(version.run_id)
    assert {"churn.auc", "churn.auc.low", "churn.auc.high"} <= set(run.data.metrics)
    assert {"data_from", "data_to", "data_fingerprint"} <= set(run.data.params)
    pictures = {artifact.path for artifact in client.list_artifacts(version.run_id)}
    assert {"calibration.png", "lift.png", "shap_beeswarm.png", "shap_bar.png"} <= pictures
    assert client.get_model_version_by_alias("winback-churn", "challenger").version != version.version


@pytest.mark.parametrize("name", ["churn_risk", "one_decision", "who_they_are", "your_own_feature"])
def test_notebook_runs_from_top_to_bottom(demo: tuple[Path, dict], name: str, run_notebook: Callable) -> None:
    run_notebook(name, demo[0])


def test_all_threads_compute_the_same_bits_every_time(demo: tuple[Path, dict], full: bool) -> None:
    settings = load_settings("complete_journey", demo[0])
    lake = Lake(settings.data_dir)
    runs = []
    for _ in range(4 if full else 2):
        with open_as_of(settings, lake, settings.as_of) as history:
            redemptions = redemption_frame(history, open_store(lake, history.features), load_catalogue(settings.offers))
            outcomes = outcome_labels(history.aggregates, history.spine([date(2017, 10, 2)]), settings)
            runs.append((redemptions, outcomes.order_by("user_id").to_pyarrow()))
    for redemptions, outcomes in runs[1:]:
        assert redemptions.equals(runs[0][0])
        assert outcomes.equals(runs[0][1])


def test_the_page_tells_what_users_like_and_how_many_hours_are_known(demo: tuple[Path, dict]) -> None:
    page = Path(demo[1]["outputs"]["report"]).read_text(encoding="utf-8")
    (section,) = re.findall(r'<section id="preferences".*?</section>', page, flags=re.DOTALL)
    source = f"read_parquet('{demo[0] / 'decisions' / 'day=2018-01-01' / 'hours.parquet'}')"
    users, seen = duckdb.sql(f"SELECT count(*), count(*) FILTER (evidence > 0) FROM {source}").fetchone()
    assert users == 2469 and f"Of 2,469 users, {seen:,} ({seen / users:.0%}) were seen of late" in section
    assert "To buy again" in section and "To try" in section and "milk" in section
    assert "nobody" not in section and "None" not in section


def query(folder: Path, table: str, select: str) -> list[tuple[object, ...]]:
    """Ask a table of what the source told: the treatments of the day itself are our own."""
    path = f"{folder}/{table}/day=*/{table}.parquet"
    rows = f"(FROM read_parquet('{path}')" + (f" WHERE day < '{AS_OF}')" if table == "treatments" else ")")
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        return connection.execute(select.format(table=rows)).fetchall()


def test_complete_journey_is_taken_whole(metrics: dict[str, dict[str, float]]) -> None:
    tables = {"events": 1_471_409, "users": 801, "treatments": 6_589}
    for table, rows in tables.items():
        counts = [metrics[f"{table}.{name}"]["value"] for name in ("read", "added", "quarantined")]
        assert counts == [rows, rows, 0], table


def test_complete_journey_has_its_purchases_and_redemptions(demo: tuple[Path, dict]) -> None:
    rows = query(
        demo[0], "events", "SELECT event_name, count(*), round(sum(amount), 2) FROM {table} GROUP BY 1 ORDER BY 1"
    )
    assert [(name, count) for name, count, _ in rows] == [("offer_redeem", 2_102), ("purchase", 1_469_307)]
    assert rows[1][2] == 4_596_039.58
    assert query(demo[0], "events", "SELECT count(DISTINCT user_id) FROM {table}") == [(2_469,)]


def test_complete_journey_spills_into_the_next_year_and_stays_there(demo: tuple[Path, dict]) -> None:
    days = Lake(demo[0]).days("events")
    assert (days[0], days[-1]) == (date(2017, 1, 1), date(2018, 1, 1))


def test_complete_journey_has_no_quantity_where_it_counts_no_pieces(demo: tuple[Path, dict]) -> None:
    fuel = "SELECT count(*), count(quantity) FROM {table} WHERE item_category = 'FUEL'"
    ((lines, quantities),) = query(demo[0], "events", fuel)
    assert (lines, quantities) == (12_997, 0)
    assert query(demo[0], "events", "SELECT max(quantity) FROM {table}") == [(144,)]


def test_complete_journey_treatments_are_observational_and_their_discounts_are_shares(demo: tuple[Path, dict]) -> None:
    select = "SELECT count(propensity), min(discount) > 0, max(discount) < 1, count(DISTINCT offer_id) FROM {table}"
    assert query(demo[0], "treatments", select) == [(0, True, True, 3)]
    assert query(demo[0], "treatments", "SELECT count(*) FROM {table} WHERE valid_until IS NULL") == [(0,)]


def test_complete_journey_redemptions_point_at_treatments(demo: tuple[Path, dict]) -> None:
    given = {row for (row,) in query(demo[0], "treatments", "SELECT decision_id FROM {table}")}
    used = query(demo[0], "events", "SELECT DISTINCT decision_id FROM {table} WHERE event_name = 'offer_redeem'")
    assert {row for (row,) in used} <= given


def test_complete_journey_options_are_discounts_that_were_given(demo: tuple[Path, dict]) -> None:
    seen = {tuple(row) for row in query(demo[0], "treatments", "SELECT DISTINCT offer_id, discount FROM {table}")}
    assert set(load_catalogue("complete_journey").options) <= seen


def readme_commands() -> list[str]:
    text = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```sh\n(.*?)```", text, flags=re.DOTALL)
    lines = [line.split("#")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line.startswith("winback ")]


def test_readme_shows_every_command() -> None:
    shown = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    assert [command.name for command in app.registered_commands if f"winback {command.name}" not in shown] == []


@pytest.mark.parametrize("line", readme_commands())
def test_readme_command_runs_on_the_demo(demo: tuple[Path, dict], line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    words = shlex.split(line)[1:]
    if words[0] in ELSEWHERE or "my_data" in words:  # test_cli.py runs all of them on an app of its own
        assert CliRunner().invoke(app, [words[0], "--help"]).exit_code == 0
        return
    monkeypatch.setitem(os.environ, DATA_DIR_VARIABLE, str(demo[0]))
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.stderr


def walk() -> list[tuple[str, list[str]]]:
    """Queries of the page about features, each with the row that it shows."""
    text = (Path(__file__).parents[1] / "features" / "README.md").read_text(encoding="utf-8")
    found = re.findall(r"```sql\n((?:(?!```).)*)```\n\n\|[^\n]+\|\n\|[-|]+\|\n\|([^\n]+)\|\n", text, flags=re.DOTALL)
    return [(query, [value.strip() for value in row.split("|")]) for query, row in found]


def test_the_walk_of_an_event_leads_from_the_receipt_to_the_decision() -> None:
    assert len(walk()) == 5


@pytest.mark.parametrize(("query", "row"), walk())
def test_a_step_of_the_walk_finds_what_the_page_shows(
    demo: tuple[Path, dict], query: str, row: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(demo[0])
    assert [str(value) for value in duckdb.sql(query).fetchone()] == row


def readme_figures() -> list[tuple[str, list[float]]]:
    text = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"\| `([a-z_]+\.[a-z_]+)` \| (.+?) \|", text)
    return [
        (name, [float(number) for number in re.findall(r"[-−]?[\d.]+", figures.replace("−", "-"))])
        for name, figures in rows
    ]


def test_readme_has_a_table_of_results() -> None:
    assert len(readme_figures()) >= 12


@pytest.mark.parametrize(("name", "figures"), readme_figures())
def test_readme_figure_is_what_the_demo_measures(
    metrics: dict[str, dict[str, float]], name: str, figures: list[float]
) -> None:
    measured = [metrics[name][part] for part in ("value", "low", "high")][: len(figures)]
    assert figures == pytest.approx(measured, rel=0.02, abs=0.006)
