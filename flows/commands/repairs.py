"""Commands for operators: verification of files, and manual choice of champions."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from flows.command_line.command_run import BAD_INPUT, guarded, show_answer
from flows.command_line.shared_options import DataDir, Json, Profile, Reason, Subject
from flows.command_line.strict_json import strict_json
from serving.wording.visible_text import visible

commands = typer.Typer()
command = partial(commands.command, rich_help_panel="By hand")
OVERRIDE = "champion_override"  # whose functions choose champions


@command("verify")
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
        from flows.configuration_questions import verify

        page, facts, is_whole = verify(accept, profile, data_dir)
        typer.echo(strict_json(facts, 1) if as_json else visible(page))
        if not is_whole:
            raise typer.Exit(BAD_INPUT)

    guarded("verify", show, data_dir, as_json, writes=False)


@command("promote")
def promote_command(
    subject: Subject,
    version: Annotated[int, typer.Argument(min=1, help="number of a registered version")],
    reason: Reason,
    profile: Profile = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Make a version champion by hand; it is pinned: no training replaces it."""
    show_answer(
        "promote", "promote", (subject, version, reason), profile, data_dir, as_json, module=OVERRIDE, writes=True
    )


@command("rollback")
def rollback_command(
    subject: Subject, reason: Reason, profile: Profile = None, data_dir: DataDir = None, as_json: Json = False
) -> None:
    """Make the champion before the present one champion again; it is pinned: no training replaces it."""
    show_answer("rollback", "roll_back", (subject, reason), profile, data_dir, as_json, module=OVERRIDE, writes=True)


@command("unpin")
def unpin_command(subject: Subject, profile: Profile = None, data_dir: DataDir = None, as_json: Json = False) -> None:
    """Let the next training replace a champion that a person chose."""
    show_answer("unpin", "unpin", (subject,), profile, data_dir, as_json, module=OVERRIDE, writes=True)
