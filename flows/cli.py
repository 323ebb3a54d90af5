"""The command line: one word per flow; with --json machines read standard output and people standard error."""

from __future__ import annotations

import gc
import importlib
import os
import resource
import sys
import time
import traceback
from collections.abc import Callable
from datetime import date, datetime
from functools import partial
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from flows.command_group import CommandGroup
from flows.strict_json import strict_json

if TYPE_CHECKING:
    from flows.outcome import Outcome

BAD_INPUT, FAILED = 2, 1
DAY = ["%Y-%m-%d"]
ONLY_READ = ("status", "explain", "catalogue", "settings", "check")  # they do not even make the data folder
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
    days = {"replace": replace, "first": _day(first), "last": _day(last)}
    _run_flow("ingest", profile, data_dir, as_of, as_json, source=source, raw=raw, **days)


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
    _run_flow("build-features", profile, data_dir, as_of, as_json, only_today=only_today)


@app.command("train-models")
def train_models_command(
    profile: Profile = None, data_dir: DataDir = None, as_of: AsOf = None, as_json: Json = False
) -> None:
    """Train churn, value, redemption and effects; the gate promotes what beats the simpler model."""
    _run_flow("train-models", profile, data_dir, as_of, as_json)


@app.command("score-users")
def score_users_command(
    profile: Profile = None, data_dir: DataDir = None, as_of: AsOf = None, as_json: Json = False
) -> None:
    """Give every user a decision under the budget and write the report."""
    _run_flow("score-users", profile, data_dir, as_of, as_json)


@app.command("measure-offers")
def measure_offers_command(
    profile: Profile = None, data_dir: DataDir = None, as_of: AsOf = None, as_json: Json = False
) -> None:
    """Say what the decisions changed, measured against the control group."""
    _run_flow("measure-offers", profile, data_dir, as_of, as_json)


@app.command("demo")
def demo_command(
    profile: Profile = "complete_journey", data_dir: DataDir = None, as_of: AsOf = None, as_json: Json = False
) -> None:
    """Run everything on the 2,469 households of The Complete Journey."""
    _run_flow("demo", profile, data_dir, as_of, as_json)


@app.command("simulate")
def simulate_command(
    users: Annotated[int, typer.Option(help="users who ever join")] = 20_000,
    days: Annotated[int, typer.Option(help="days from 2024-01-01 on")] = 84,
    random_weeks: Annotated[int, typer.Option(help="last weeks, in which offers are randomised")] = 4,
    nothing_share: Annotated[float, typer.Option(help="share of the randomised that is given nothing")] = 0.2,
    seed: Annotated[int | None, typer.Option(help="another seed is another world; the profile's by default")] = None,
    is_closed_loop: Annotated[
        bool, typer.Option("--closed-loop", help="then let winback decide for --weeks, and every simpler policy too")
    ] = False,
    weeks: Annotated[int, typer.Option(help="weeks of policy of the closed loop")] = 8,
    profile: Profile = "simulated",
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Fill an empty data folder with a simulated app whose truth is known."""
    world = (profile, data_dir, users, days, random_weeks, nothing_share, seed)
    run = partial(_flow, "closed_loop", *world, weeks) if is_closed_loop else partial(_flow, "simulate", *world)
    _report_run("simulate", run, data_dir, as_json, profile)


@app.command("report")
def report_command(
    profile: Profile = None, data_dir: DataDir = None, as_of: AsOf = None, as_json: Json = False
) -> None:
    """Write the risk report of a day's decisions again."""

    def run() -> Outcome:
        from flows.lookup import rewrite_report

        return rewrite_report(profile, data_dir, _day(as_of))

    _report_run("report", run, data_dir, as_json, profile)


@app.command("status")
def status_command(
    profile: Profile = None, data_dir: DataDir = None, as_of: AsOf = None, as_json: Json = False
) -> None:
    """Say what the data folder holds, who is champion and since when."""

    def run() -> Outcome:
        from flows.lookup import status

        return status(profile, data_dir, _day(as_of))

    _report_run("status", run, data_dir, as_json)


@app.command("explain")
def explain_command(
    user_id: UserId, profile: Profile = None, data_dir: DataDir = None, as_of: AsOf = None, as_json: Json = False
) -> None:
    """Print one user's risk, its reasons, the decision and every option's worth."""
    _answer("explain", "explain", (user_id,), profile, data_dir, as_json, _day(as_of))


@app.command("catalogue")
def catalogue_command(profile: Profile = None, data_dir: DataDir = None, as_json: Json = False) -> None:
    """Print the data catalogue: every column, its meaning, window, source role and view."""
    _answer("catalogue", "feature_catalogue", (), profile, data_dir, as_json)


@app.command("settings")
def settings_command(profile: Profile = None, data_dir: DataDir = None, as_json: Json = False) -> None:
    """Print every setting, its value and what it means."""
    _answer("settings", "describe_settings", (), profile, data_dir, as_json)


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

        page, facts, can_work = check(name or profile, data_dir, _day(as_of))
        typer.echo(strict_json(facts, 1) if as_json else page)
        if not can_work:
            raise typer.Exit(BAD_INPUT)

    _guarded("check", show, data_dir, as_json)


@app.command("promote")
def promote_command(
    subject: Subject,
    version: Annotated[int, typer.Argument(help="number of a registered version")],
    reason: Reason,
    profile: Profile = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Make a version champion by hand; it is pinned: no training replaces it."""
    _answer("promote", "promote", (subject, version, reason), profile, data_dir, as_json)


@app.command("rollback")
def rollback_command(
    subject: Subject, reason: Reason, profile: Profile = None, data_dir: DataDir = None, as_json: Json = False
) -> None:
    """Make the champion before the present one champion again; it is pinned: no training replaces it."""
    _answer("rollback", "roll_back", (subject, reason), profile, data_dir, as_json)


@app.command("unpin")
def unpin_command(subject: Subject, profile: Profile = None, data_dir: DataDir = None, as_json: Json = False) -> None:
    """Let the next training replace a champion that a person chose."""
    _answer("unpin", "unpin", (subject,), profile, data_dir, as_json)


@app.command("schedule")
def schedule_command(profile: Profile = None, data_dir: DataDir = None, as_json: Json = False) -> None:
    """Serve the daily scoring and the weekly training until stopped; stopping does not pause them."""

    def serve() -> None:
        from flows.server import start_server

        wait_for_server = start_server(is_scheduling=True)
        from flows.schedule import planned, schedule

        plan = planned(profile, data_dir)
        typer.echo(strict_json({"command": "schedule", "deployments": plan}) if as_json else "\n".join(plan.values()))
        wait_for_server()
        schedule(profile, data_dir)

    _guarded("schedule", serve, data_dir, as_json, profile)


def main() -> None:
    """Run the command line."""
    # libgomp reads this when LightGBM loads it: on a busy machine spinning threads cost a factor of three
    os.environ.setdefault("GOMP_SPINCOUNT", "0")
    app()


def _run_flow(
    command: str,
    profile: str | None,
    data_dir: str | None,
    as_of: datetime | None,
    as_json: bool,
    **more: str | bool | date | None,
) -> None:
    """Run the flow that bears the command's name."""
    run = partial(_flow, command.replace("-", "_"), profile, data_dir, _day(as_of), **more)
    _report_run(command, run, data_dir, as_json, profile)


def _flow(name: str, *given: object, **more: object) -> Outcome:
    """Run the flow of the module of the same name, which is imported while Prefect's server starts."""
    from flows.environment import hush
    from flows.server import start_server

    wait_for_server = start_server()
    gc.disable()  # what is imported stays: none of it is garbage, now or later
    try:
        flow = getattr(importlib.import_module(f"flows.{name}"), name)
    finally:
        gc.freeze()
        gc.enable()
    hush()
    wait_for_server()
    outcome: Outcome = flow(*given, **more)
    return outcome


def _report_run(
    command: str, run: Callable[[], Outcome], data_dir: str | None, as_json: bool, profile: str | None = None
) -> None:
    """Run a command that ends in an outcome and say how it went."""
    started = time.perf_counter()

    def show() -> None:
        outcome = run()
        seconds = time.perf_counter() - started
        peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        if as_json:
            typer.echo(strict_json(outcome.as_dict(round(seconds, 1), peak_mib)))
        outcome.show(sys.stderr if as_json else sys.stdout, seconds, peak_mib)

    _guarded(command, show, data_dir, as_json, profile)


def _answer(
    command: str, function: str, given: tuple[object, ...], profile: str | None, data_dir: str | None, as_json: bool,
    *more: object,
) -> None:  # fmt: skip
    """Print the page that a function of `flows.lookup` makes, or its facts for machines."""

    def show() -> None:
        answer = getattr(importlib.import_module("flows.lookup"), function)
        page, facts = answer(*given, profile, data_dir, *more)
        typer.echo(strict_json(facts, 1) if as_json else page)

    _guarded(command, show, data_dir, as_json, profile)


def _guarded(
    command: str, show: Callable[[], None], data_dir: str | None, as_json: bool, profile: str | None = None
) -> None:
    """Turn bad input into a sentence and its exit code, anything else into exit code 1; an object for machines too."""
    from configs.errors import InputError
    from flows.environment import prepare

    try:
        is_written = command not in ONLY_READ
        prepare(data_dir, profile if is_written else None, writes=is_written)
        show()
    except InputError as error:
        _fail(command, str(error), error.exit_code, as_json)
    except typer.Exit:
        raise
    except KeyboardInterrupt:
        _fail(command, "interrupted; finished parts stay, a rerun goes on from there", FAILED, as_json)
    except Exception as error:
        traceback.print_exc()
        _fail(command, f"{type(error).__name__}: {error}", FAILED, as_json)


def _fail(command: str, sentence: str, code: int, as_json: bool) -> NoReturn:
    """Say what went wrong, to machines and to people, and end."""
    if as_json:
        typer.echo(strict_json({"command": command, "error": sentence}))
    typer.echo(f"winback {command}: {sentence}", err=True)
    raise typer.Exit(code)


def _day(as_of: datetime | None) -> date | None:
    return as_of.date() if as_of else None
