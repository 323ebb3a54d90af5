"""Options that many commands share."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer

DAY = ["%Y-%m-%d"]

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
