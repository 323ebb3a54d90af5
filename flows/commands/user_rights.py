"""Commands for requests of users: erasure and export."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from flows.command_line.command_run import BAD_INPUT, day_of, guarded
from flows.command_line.shared_options import AsOf, DataDir, Json, Profile, UserId
from flows.command_line.strict_json import strict_json
from serving.wording.visible_text import visible

commands = typer.Typer()
command = partial(commands.command, rich_help_panel="Users' rights")


@command("forget")
def forget_command(
    user_ids: Annotated[list[str] | None, typer.Argument(metavar="[USER_ID]...", help="users' ids")] = None,
    file: Annotated[Path | None, typer.Option(help="a file with one user's id a line")] = None,
    listed: Annotated[
        bool, typer.Option("--listed", help="those forgotten before whom a backup or an alias brought back")
    ] = False,
    keep_data: Annotated[
        bool, typer.Option("--keep-data", help="erase nothing: they object to being written to, which is kept")
    ] = False,
    new_consent: Annotated[
        bool, typer.Option("--new-consent", help="take them in again from today on, and write to them")
    ] = False,
    expired: Annotated[
        bool, typer.Option("--expired", help="remove what is older than \\[retention] says, as the daily run does")
    ] = False,
    profile: Profile = None,
    data_dir: DataDir = None,
    as_of: AsOf = None,
    as_json: Json = False,
) -> None:
    """Take users out of all that is stored but a keyed hash, search for what is left, and never take them in again."""
    modes = {"--listed": listed, "--keep-data": keep_data, "--new-consent": new_consent, "--expired": expired}

    def show() -> None:
        from flows import user_requests as requests

        asked, where = (user_ids or [], file), (profile, data_dir)
        chosen = [name for name, is_given in modes.items() if is_given]
        requests.check_one_wish(chosen, has_ids=any(asked), has_day=as_of is not None)
        if expired:
            answer = requests.expired(*where, day_of(as_of))
        elif keep_data:
            answer = requests.object_to_contact(*asked, *where)
        elif new_consent:
            answer = requests.take_in_again(*asked, *where)
        else:
            answer = requests.forget(*asked, listed, *where)
        page, facts, is_clean = answer
        typer.echo(strict_json(facts, 1) if as_json else visible(page))
        if not is_clean:
            raise typer.Exit(BAD_INPUT)

    guarded("forget", show, data_dir, as_json, profile)


@command("export-user")
def export_user_command(
    user_id: UserId, profile: Profile = None, data_dir: DataDir = None, as_json: Json = False
) -> None:
    """Print everything that is held of a user as JSON, with what each table and column means."""

    def show() -> None:
        from flows.user_requests import export_user

        typer.echo(strict_json(export_user(user_id, profile, data_dir), None if as_json else 1))

    guarded("export-user", show, data_dir, as_json, writes=False)
