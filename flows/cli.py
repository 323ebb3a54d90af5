"""The command line. With --json, standard output is for machines and standard error for people."""

from __future__ import annotations

import os

import typer

from flows.command_line.command_group import CommandGroup
from flows.commands import daily_commands, examples, questions, repairs, user_rights

HELP = "From event history to one retention decision per user and day, with the reasons in plain words."
app = typer.Typer(
    cls=CommandGroup, help=HELP, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False
)
for each in (daily_commands, questions, repairs, user_rights, examples):
    app.add_typer(each.commands)


def main() -> None:
    """Run the command line."""
    # libgomp reads this when LightGBM loads it: on a busy machine spinning threads cost a factor of three
    os.environ.setdefault("GOMP_SPINCOUNT", "0")
    app()
