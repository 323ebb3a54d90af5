"""Commands of the daily and weekly work, from ingest to the send list, and backfill."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.command_line.command_run import day_of, flow_of, guarded, report_run, run_flow
from flows.command_line.shared_options import DAY, AsOf, DataDir, Json, Profile
from flows.command_line.strict_json import strict_json

if TYPE_CHECKING:
    from flows.runs.outcome import Outcome

commands = typer.Typer()
command = partial(commands.command, rich_help_panel="Day by day")


@command("ingest")
def ingest_command(
    source: Annotated[str | None, typer.Argument(help="SQL file, or its name in configs/sources")] = None,
    raw: Annotated[str | None, typer.Option(help="folder that the source reads")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="write days anew: history was wrong")] = False,
    first: Annotated[datetime | None, typer.Option("--from", formats=DAY, help="first day to replace")] = None,
    last: Annotated[datetime | None, typer.Option("--to", formats=DAY, help="last day to replace")] = None,
    profile: Profile = None,
    data_dir: DataDir = None,
    as_of: AsOf = None,
    as_json: Json = False,
) -> None:
    """Bring raw files into the three contract tables; bad rows go to quarantine with their reason."""
    days = {"replace": replace, "first": day_of(first), "last": day_of(last)}
    run_flow("ingest", profile, data_dir, as_of, as_json, source=source, raw=raw, **days)


@command("build-features")
def build_features_command(
    only_today: Annotated[
        bool, typer.Option("--only-today", help="leave out the snapshots that only training reads")
    ] = False,
    profile: Profile = None,
    data_dir: DataDir = None,
    as_of: AsOf = None,
    as_json: Json = False,
) -> None:
    """Compute daily aggregates and point-in-time snapshots, as far as something changed."""
    run_flow("build-features", profile, data_dir, as_of, as_json, only_today=only_today)


@command("train-models")
def train_models_command(
    profile: Profile = None, data_dir: DataDir = None, as_of: AsOf = None, as_json: Json = False
) -> None:
    """Train churn, value, redemption and effects; the gate promotes what beats the simpler model."""
    run_flow("train-models", profile, data_dir, as_of, as_json)


@command("score-users")
def score_users_command(
    supersede: Annotated[
        str | None,
        typer.Option(metavar="REASON", help="why new decisions take the place of those of a day, which were not sent"),
    ] = None,
    profile: Profile = None,
    data_dir: DataDir = None,
    as_of: AsOf = None,
    as_json: Json = False,
) -> None:
    """Give every user a decision under the budget and write the report; a day once decided otherwise stays so."""
    run_flow("score-users", profile, data_dir, as_of, as_json, supersede=supersede)


@command("report")
def report_command(
    is_pdf: Annotated[bool, typer.Option("--pdf", help="write it as a PDF, too; needs the extra pdf")] = False,
    profile: Profile = None,
    data_dir: DataDir = None,
    as_of: AsOf = None,
    as_json: Json = False,
) -> None:
    """Write the risk report of a day's decisions again."""

    def run() -> Outcome:
        from flows.lookup import rewrite_report

        return rewrite_report(profile, data_dir, day_of(as_of), is_pdf=is_pdf)

    report_run("report", run, data_dir, as_json, profile)


@command("send-list")
def send_list_command(
    form: Annotated[str, typer.Option("--format", help="csv or parquet")] = "csv",
    profile: Profile = None,
    data_dir: DataDir = None,
    as_of: AsOf = None,
    as_json: Json = False,
) -> None:
    """List everybody who is given an offer on a day, by channel: user, message, when to send it, the decision's id."""
    run_flow("send-list", profile, data_dir, as_of, as_json, kind=form)


@command("measure-offers")
def measure_offers_command(
    profile: Profile = None, data_dir: DataDir = None, as_of: AsOf = None, as_json: Json = False
) -> None:
    """Say what the decisions changed, measured against the control group."""
    run_flow("measure-offers", profile, data_dir, as_of, as_json)


@command("backfill")
def backfill_command(
    first: Annotated[datetime, typer.Option("--from", formats=DAY, help="first day")],
    last: Annotated[datetime | None, typer.Option("--to", formats=DAY, help="last day  [default: today]")] = None,
    decisions: Annotated[bool, typer.Option("--decisions", help="decide the days without decisions, too")] = False,
    profile: Profile = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Make up for days that were missed: their features, and with --decisions what would have been decided."""
    days = {"first": day_of(first), "last": day_of(last)}
    run = partial(flow_of, "backfill", profile, data_dir, decisions=decisions, **days)
    report_run("backfill", run, data_dir, as_json, profile)


@command("schedule")
def schedule_command(profile: Profile = None, data_dir: DataDir = None, as_json: Json = False) -> None:
    """Serve the daily scoring, the weekly training and the daily measuring until stopped; that does not pause them."""

    def serve() -> None:
        from flows.runs.environment import hush
        from flows.runs.kept_profile import settings_of
        from flows.server import page_of, start_server

        settings = settings_of(profile, Path(data_dir) if data_dir else None)
        wait_for_server = start_server(is_scheduling=True, port=settings.schedule.port)
        from flows.schedule import planned, schedule

        hush()
        plan, page = planned(profile, data_dir), page_of()
        said = {"command": "schedule", "page": page, "deployments": plan}
        typer.echo(strict_json(said) if as_json else "\n".join([*plan.values(), f"page and API: {page}"]))
        wait_for_server()
        schedule(profile, data_dir)

    guarded("schedule", serve, data_dir, as_json, profile)


@command("app")
def app_command(
    host: Annotated[str, typer.Option(help="address to listen on; other machines ask only with a token")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="port to listen on; 0 takes any that is free")] = 8321,
    user_header: Annotated[
        str, typer.Option(metavar="NAME", help="header in which a trusted reverse proxy says who asks")
    ] = "",
    operator: Annotated[
        list[str] | None, typer.Option(metavar="USER", help="who of them sees ids; may be repeated")
    ] = None,
    screenshots: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="serve nobody: write a picture of every page, and end")
    ] = None,
    profile: Profile = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Serve the desk, the pages that marketers open in the morning, until stopped."""

    def serve() -> None:
        from flows.desk_pictures import take_pictures
        from flows.serve_desk import serve_desk

        if screenshots is not None:
            for path in take_pictures(profile, data_dir, screenshots):
                typer.echo(path)
            return
        serve_desk(profile, data_dir, host, port, user_header, tuple(operator or ()))

    guarded("app", serve, data_dir, as_json, writes=False)
