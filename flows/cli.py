"""The command line: one word per flow; with --json machines read standard output and people standard error."""

from __future__ import annotations

import os
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.command_line.command_group import CommandGroup
from flows.command_line.command_run import BAD_INPUT, day_of, flow_of, guarded, report_run, run_flow, show_answer
from flows.command_line.strict_json import strict_json

if TYPE_CHECKING:
    from flows.runs.outcome import Outcome

DAY = ["%Y-%m-%d"]
HELP = "From event history to one retention decision per user and day, with the reasons in plain words."
app = typer.Typer(
    cls=CommandGroup, help=HELP, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False
)

Profile = Annotated[
    str | None,
    typer.Option(
        help="TOML over the defaults: a name in configs/profiles or a path, several with commas  "
        "[default: the data's own]"
    ),
]
ProfileName = Annotated[str | None, typer.Argument(metavar="PROFILE", help="the same as --profile")]
DataDir = Annotated[str | None, typer.Option(help="folder for everything a run makes  [default: data]")]
AsOf = Annotated[
    datetime | None,
    typer.Option(formats=DAY, help="moment of decision, the start of a day  [default: the profile's, or today]"),
]
Json = Annotated[bool, typer.Option("--json", help="print one JSON object on standard output")]
UserId = Annotated[str, typer.Argument(help="a user's id, as in the events")]
Subject = Annotated[str, typer.Argument(help="churn, value or redemption")]
Reason = Annotated[str, typer.Option(help="why, for the promotion log")]


@app.command("ingest")
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


@app.command("build-features")
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


@app.command("train-models")
def train_models_command(
    profile: Profile = None, data_dir: DataDir = None, as_of: AsOf = None, as_json: Json = False
) -> None:
    """Train churn, value, redemption and effects; the gate promotes what beats the simpler model."""
    run_flow("train-models", profile, data_dir, as_of, as_json)


@app.command("score-users")
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


@app.command("measure-offers")
def measure_offers_command(
    profile: Profile = None, data_dir: DataDir = None, as_of: AsOf = None, as_json: Json = False
) -> None:
    """Say what the decisions changed, measured against the control group."""
    run_flow("measure-offers", profile, data_dir, as_of, as_json)


@app.command("evaluate-policy")
def evaluate_policy_command(
    rule: Annotated[
        list[str] | None,
        typer.Option(help="a rule to judge, too: 'column > number: offer@discount' (or <=); may be repeated"),
    ] = None,
    file: Annotated[
        list[Path] | None,
        typer.Option(help="a policy to judge, too: CSV or Parquet of user_id, offer_id, discount; may be repeated"),
    ] = None,
    on: Annotated[
        str | None,
        typer.Option(help="lots that judge: holdout, unseen (decided since the training) or all  [default: the first]"),
    ] = None,
    first: Annotated[datetime | None, typer.Option("--from", formats=DAY, help="first day of lots")] = None,
    last: Annotated[datetime | None, typer.Option("--to", formats=DAY, help="last day of lots")] = None,
    profile: Profile = None,
    data_dir: DataDir = None,
    as_of: AsOf = None,
    as_json: Json = False,
) -> None:
    """Say what policies would have been worth on logged lots: nobody, constants, the champion's, rules, files."""
    asked = {"rules": tuple(rule or ()), "files": tuple(map(str, file or ())), "which": on}
    days = {"first": day_of(first), "last": day_of(last)}
    run = partial(flow_of, "evaluate_policy", profile, data_dir, day_of(as_of), **asked, **days)
    report_run("evaluate-policy", run, data_dir, as_json, profile)


@app.command("demo")
def demo_command(
    profile: Profile = "complete_journey", data_dir: DataDir = None, as_of: AsOf = None, as_json: Json = False
) -> None:
    """Run everything on the 2,469 households of The Complete Journey."""
    run_flow("demo", profile, data_dir, as_of, as_json)


@app.command("simulate")
def simulate_command(
    users: Annotated[int, typer.Option(min=1, max=10**8, help="users who ever join")] = 20_000,
    days: Annotated[int, typer.Option(min=1, max=3660, help="days from 2024-01-01 on")] = 84,
    random_weeks: Annotated[int, typer.Option(min=0, max=520, help="last weeks, in which offers are randomised")] = 4,
    nothing_share: Annotated[
        float, typer.Option(min=0, max=1, help="share of the randomised that is given nothing")
    ] = 0.2,
    seed: Annotated[
        int | None, typer.Option(min=0, max=2**31 - 1, help="another seed is another world; the profile's by default")
    ] = None,
    is_closed_loop: Annotated[
        bool, typer.Option("--closed-loop", help="then let winback decide for --weeks, and every simpler policy too")
    ] = False,
    weeks: Annotated[int, typer.Option(min=1, max=520, help="weeks of policy of the closed loop")] = 8,
    profile: Profile = "simulated",
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Fill an empty data folder with a simulated app whose truth is known."""
    world = (profile, data_dir, users, days, random_weeks, nothing_share, seed)
    run = partial(flow_of, "closed_loop", *world, weeks) if is_closed_loop else partial(flow_of, "simulate", *world)
    report_run("simulate", run, data_dir, as_json, profile)


@app.command("report")
def report_command(
    profile: Profile = None, data_dir: DataDir = None, as_of: AsOf = None, as_json: Json = False
) -> None:
    """Write the risk report of a day's decisions again."""

    def run() -> Outcome:
        from flows.lookup import rewrite_report

        return rewrite_report(profile, data_dir, day_of(as_of))

    report_run("report", run, data_dir, as_json, profile)


@app.command("status")
def status_command(
    profile: Profile = None, data_dir: DataDir = None, as_of: AsOf = None, as_json: Json = False
) -> None:
    """Say what the data folder holds, who is champion and since when."""

    def run() -> Outcome:
        from flows.lookup import status

        return status(profile, data_dir, day_of(as_of))

    report_run("status", run, data_dir, as_json)


@app.command("explain")
def explain_command(
    user_id: UserId, profile: Profile = None, data_dir: DataDir = None, as_of: AsOf = None, as_json: Json = False
) -> None:
    """Print one user's risk, its reasons, the decision and every option's worth."""
    show_answer("explain", "explain", (user_id,), profile, data_dir, as_json, day_of(as_of))


@app.command("segments")
def segments_command(
    user: Annotated[
        str | None, typer.Option(metavar="USER_ID", help="what one user is in, why, and what changed")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="only read the rules and say whether they can be asked")
    ] = False,
    profile: Profile = None,
    data_dir: DataDir = None,
    as_of: AsOf = None,
    as_json: Json = False,
) -> None:
    """Print a day's stages and segments: how many are in each, who came and left, and what is unusual."""
    show_answer("segments", "segments", (user, check), profile, data_dir, as_json, day_of(as_of))


@app.command("audit")
def audit_command(profile: Profile = None, data_dir: DataDir = None, as_of: AsOf = None, as_json: Json = False) -> None:
    """Compare who is written to, at which discount and for how much, across gender, age band and country."""
    show_answer("audit", "audit", (), profile, data_dir, as_json, day_of(as_of))


@app.command("plan-experiment")
def plan_experiment_command(
    offer: Annotated[str | None, typer.Argument(help="an offer of the catalogue  [default: each of them]")] = None,
    power: Annotated[float, typer.Option(min=0.5, max=0.99, help="chance to find an effect that pays")] = 0.8,
    weeks: Annotated[int, typer.Option(min=1, max=520, help="most weeks of lots")] = 26,
    profile: Profile = None,
    data_dir: DataDir = None,
    as_of: AsOf = None,
    as_json: Json = False,
) -> None:
    """Say which levels of an offer to try, on how many people, how long and at what cost, to learn which pay."""
    show_answer(
        "plan-experiment", "plan_experiment", (), profile, data_dir, as_json, day_of(as_of), offer, power, weeks
    )


@app.command("catalogue")
def catalogue_command(profile: Profile = None, data_dir: DataDir = None, as_json: Json = False) -> None:
    """Print the data catalogue: every column, its meaning, window, source role and view."""
    show_answer("catalogue", "feature_catalogue", (), profile, data_dir, as_json)


@app.command("settings")
def settings_command(profile: Profile = None, data_dir: DataDir = None, as_json: Json = False) -> None:
    """Print every setting, its value and what it means."""
    show_answer("settings", "describe_settings", (), profile, data_dir, as_json)


@app.command("check")
def check_command(
    name: ProfileName = None,
    profile: Profile = None,
    data_dir: DataDir = None,
    as_of: AsOf = None,
    as_json: Json = False,
) -> None:
    """Run the source, write nothing, and say whether profile, rows and offers can work, and what is missing."""

    def show() -> None:
        from flows.lookup import check

        page, facts, can_work = check(name or profile, data_dir, day_of(as_of))
        typer.echo(strict_json(facts, 1) if as_json else page)
        if not can_work:
            raise typer.Exit(BAD_INPUT)

    guarded("check", show, data_dir, as_json)


@app.command("verify")
def verify_command(
    accept: Annotated[
        str | None, typer.Option(metavar="NAME", help="take a file or folder for whole as it is, restored or mended")
    ] = None,
    profile: Profile = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Read every stored file, say what is damaged, missing or unknown, and how to get it back."""

    def show() -> None:
        from flows.lookup import verify

        page, facts, is_whole = verify(accept, profile, data_dir)
        typer.echo(strict_json(facts, 1) if as_json else page)
        if not is_whole:
            raise typer.Exit(BAD_INPUT)

    guarded("verify", show, data_dir, as_json)


@app.command("promote")
def promote_command(
    subject: Subject,
    version: Annotated[int, typer.Argument(min=1, help="number of a registered version")],
    reason: Reason,
    profile: Profile = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Make a version champion by hand; it is pinned: no training replaces it."""
    show_answer("promote", "promote", (subject, version, reason), profile, data_dir, as_json)


@app.command("rollback")
def rollback_command(
    subject: Subject, reason: Reason, profile: Profile = None, data_dir: DataDir = None, as_json: Json = False
) -> None:
    """Make the champion before the present one champion again; it is pinned: no training replaces it."""
    show_answer("rollback", "roll_back", (subject, reason), profile, data_dir, as_json)


@app.command("unpin")
def unpin_command(subject: Subject, profile: Profile = None, data_dir: DataDir = None, as_json: Json = False) -> None:
    """Let the next training replace a champion that a person chose."""
    show_answer("unpin", "unpin", (subject,), profile, data_dir, as_json)


@app.command("send-list")
def send_list_command(
    form: Annotated[str, typer.Option("--format", help="csv or parquet")] = "csv",
    profile: Profile = None,
    data_dir: DataDir = None,
    as_of: AsOf = None,
    as_json: Json = False,
) -> None:
    """List everybody who is given an offer on a day, by channel: user, message, when to send it, the decision's id."""
    run_flow("send-list", profile, data_dir, as_of, as_json, kind=form)


@app.command("backfill")
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


@app.command("schedule")
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


def main() -> None:
    """Run the command line."""
    # libgomp reads this when LightGBM loads it: on a busy machine spinning threads cost a factor of three
    os.environ.setdefault("GOMP_SPINCOUNT", "0")
    app()
