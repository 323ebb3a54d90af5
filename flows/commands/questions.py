"""Commands that answer questions about a data folder without writing to it."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.command_line.command_run import BAD_INPUT, day_of, flow_of, guarded, report_run, show_answer
from flows.command_line.shared_options import DAY, AsOf, DataDir, Json, Profile, ProfileName, UserId
from flows.command_line.strict_json import strict_json
from serving.wording.visible_text import visible

if TYPE_CHECKING:
    from flows.runs.outcome import Outcome

commands = typer.Typer()
command = partial(commands.command, rich_help_panel="Questions")
CONFIGURATION = "configuration_questions"  # whose functions say what is declared


@command("status")
def status_command(
    profile: Profile = None, data_dir: DataDir = None, as_of: AsOf = None, as_json: Json = False
) -> None:
    """Say what the data folder holds, who is champion and since when."""

    def run() -> Outcome:
        from flows.lookup import status

        return status(profile, data_dir, day_of(as_of))

    report_run("status", run, data_dir, as_json, writes=False)


@command("explain")
def explain_command(
    user_id: UserId,
    with_features: Annotated[
        bool, typer.Option("--features", help="also every column of the user's snapshot, those of your own too")
    ] = False,
    profile: Profile = None,
    data_dir: DataDir = None,
    as_of: AsOf = None,
    as_json: Json = False,
) -> None:
    """Print one user's risk, its reasons, the decision and every option's worth."""
    show_answer("explain", "explain", (user_id, with_features), profile, data_dir, as_json, day_of(as_of))


@command("rules")
def rules_command(profile: Profile = None, data_dir: DataDir = None, as_of: AsOf = None, as_json: Json = False) -> None:
    """Print every rule of contact, its settings, and how many users it held back on the newest day."""
    show_answer("rules", "contact_rules", (), profile, data_dir, as_json, day_of(as_of))


@command("segments")
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


@command("plays")
def plays_command(
    examples: Annotated[
        bool, typer.Option("--examples", help="tell a user of the last weeks for each, with the events that led to it")
    ] = False,
    profile: Profile = None,
    data_dir: DataDir = None,
    as_of: AsOf = None,
    as_json: Json = False,
) -> None:
    """Print every play of the catalogue: whom it is meant for today, who gets it, and what is left out."""
    show_answer("plays", "plays", (examples,), profile, data_dir, as_json, day_of(as_of))


@command("messages")
def messages_command(
    check: Annotated[
        bool, typer.Option("--check", help="only write every text to users of the folder, and say what is wrong")
    ] = False,
    profile: Profile = None,
    data_dir: DataDir = None,
    as_of: AsOf = None,
    as_json: Json = False,
) -> None:
    """Print how often each text was used on a day, with an example, or whether every text can be written."""

    def show() -> None:
        from flows.lookup import messages

        page, facts, can_be_written = messages(check, profile, data_dir, day_of(as_of))
        typer.echo(strict_json(facts, 1) if as_json else visible(page))
        if not can_be_written:
            raise typer.Exit(BAD_INPUT)

    guarded("messages", show, data_dir, as_json, writes=False)


@command("audit")
def audit_command(profile: Profile = None, data_dir: DataDir = None, as_of: AsOf = None, as_json: Json = False) -> None:
    """Compare who is written to, at which discount and for how much, across gender, age band and country."""
    show_answer("audit", "audit", (), profile, data_dir, as_json, day_of(as_of))


@command("evaluate-policy")
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
        typer.Option(
            help="treatments to judge by: holdout, unseen (decided since the training) or all  [default: the first]"
        ),
    ] = None,
    first: Annotated[datetime | None, typer.Option("--from", formats=DAY, help="first day of the treatments")] = None,
    last: Annotated[datetime | None, typer.Option("--to", formats=DAY, help="last day of the treatments")] = None,
    profile: Profile = None,
    data_dir: DataDir = None,
    as_of: AsOf = None,
    as_json: Json = False,
) -> None:
    """Say what policies would have been worth, by randomised treatments: the champion's, constants, rules, files."""
    asked = {"rules": tuple(rule or ()), "files": tuple(map(str, file or ())), "which": on}
    days = {"first": day_of(first), "last": day_of(last)}
    run = partial(flow_of, "evaluate_policy", profile, data_dir, day_of(as_of), **asked, **days)
    report_run("evaluate-policy", run, data_dir, as_json, profile)


@command("experiments")
def experiments_command(
    profile: Profile = None, data_dir: DataDir = None, as_of: AsOf = None, as_json: Json = False
) -> None:
    """Print the experiments inside plays: which variant is better, or how many users it still takes to know."""
    show_answer("experiments", "experiments", (), profile, data_dir, as_json, day_of(as_of))


@command("plan-experiment")
def plan_experiment_command(
    offer: Annotated[str | None, typer.Argument(help="an offer of the catalogue  [default: each of them]")] = None,
    power: Annotated[float, typer.Option(min=0.5, max=0.99, help="chance to find an effect that pays")] = 0.8,
    weeks: Annotated[int, typer.Option(min=1, max=520, help="most weeks of randomised offers")] = 26,
    profile: Profile = None,
    data_dir: DataDir = None,
    as_of: AsOf = None,
    as_json: Json = False,
) -> None:
    """Say which levels of an offer to try, on how many people, how long and at what cost, to learn which pay."""
    show_answer(
        "plan-experiment", "plan_experiment", (), profile, data_dir, as_json, day_of(as_of), offer, power, weeks
    )


@command("catalogue")
def catalogue_command(profile: Profile = None, data_dir: DataDir = None, as_json: Json = False) -> None:
    """Print the data catalogue: every column, its meaning, window, source role and view."""
    show_answer("catalogue", "feature_catalogue", (), profile, data_dir, as_json, module=CONFIGURATION)


@command("settings")
def settings_command(profile: Profile = None, data_dir: DataDir = None, as_json: Json = False) -> None:
    """Print every setting, its value and what it means."""
    show_answer("settings", "describe_settings", (), profile, data_dir, as_json, module=CONFIGURATION)


@command("check")
def check_command(
    name: ProfileName = None,
    profile: Profile = None,
    data_dir: DataDir = None,
    as_of: AsOf = None,
    as_json: Json = False,
) -> None:
    """Run the source, write nothing, and say whether profile, rows and offers can work, and what is missing."""

    def show() -> None:
        from flows.configuration_questions import check

        page, facts, can_work = check(name or profile, data_dir, day_of(as_of))
        typer.echo(strict_json(facts, 1) if as_json else visible(page))
        if not can_work:
            raise typer.Exit(BAD_INPUT)

    guarded("check", show, data_dir, as_json, writes=False)
