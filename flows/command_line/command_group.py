"""The group of all commands, which also answers unknown commands and options, as JSON if asked."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import typer
from typer.core import TyperGroup

from flows.command_line.strict_json import strict_json


class CommandGroup(TyperGroup):
    """Commands whose refusals are objects, too."""

    def main(self, args: Sequence[str] | None = None, *given: Any, **more: Any) -> Any:  # noqa: ANN401 - as declared
        """Run one command and end with its exit code."""
        words = list(sys.argv[1:] if args is None else args)
        try:
            code = super().main(words, *given, **(more | {"standalone_mode": False}))
        except Exception as error:
            if not hasattr(error, "format_message"):  # the word of whatever refuses a command line
                raise
            if "--json" in words:
                command = next((word for word in words if word in self.commands), None)
                typer.echo(strict_json({"command": command, "error": error.format_message()}))
            error.show()  # type: ignore[attr-defined]
            code = error.exit_code  # type: ignore[attr-defined]
        sys.exit(code or 0)
