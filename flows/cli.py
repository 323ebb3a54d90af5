"""The command line: one word per flow, people on standard error, machines on standard output."""

from __future__ import annotations

import os
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    pass

# libgomp reads this when numpy or LightGBM load it: spinning threads cost a busy machine a factor of three
os.environ.setdefault("GOMP_SPINCOUNT", "0")

BAD_INPUT, FAILED = 2, 1
HELP = "From event history to one retention decision per user and day, with the reasons in plain words."
app = typer.Typer(help=HELP, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

Profile = Annotated[
    str | None,
    typer.Option(help="TOML over the defaults: a name in configs/profiles or a path [default: the data's own]"),
]
DataDir = Annotated[str | None, typer.Option(help="folder for everything a run makes [default: data]")]
AsOf = Annotated[
    datetime | None, typer.Option(formats=["%Y-%m-%d"], help="moment of decision, the start of a day [default: today]")
]
Json = Annotated[bool, typer.Option("--json", help="print one JSON object on standard output")]


@app.command("ingest")
def ingest_command(
    source: Annotated[str | None, typer.Argument(help="SQL file, or its name [default: the profile's]")] = None,
    profile: Profile = None, data_dir: DataDir = None, as_of: AsOf = None, as_json: Json = False,
) -> None:  # fmt: skip
    """Bring raw files into the three contract tables; bad rows go to quarantine with their reason."""
    _run("ingest", profile, data_dir, as_of, as_json)


@app.command("build-features")
def build_features_command(
    profile: Profile = None, data_dir: DataDir = None, as_of: AsOf = None, as_json: Json = False
) -> None:
    """Compute daily aggregates and point-in-time snapshots, as far as something changed."""
    _run("build-features", profile, data_dir, as_of, as_json)


@app.command("train-models")
def train_models_command(
    profile: Profile = None, data_dir: DataDir = None, as_of: AsOf = None, as_json: Json = False
) -> None:
    """Train churn, value, redemption and effects; the gate promotes what beats the simpler model."""
    _run("train-models", profile, data_dir, as_of, as_json)


@app.command("score-users")
def score_users_command(
    profile: Profile = None, data_dir: DataDir = None, as_of: AsOf = None, as_json: Json = False
) -> None:
    """Give every user a decision under the budget and write the report."""
    _run("score-users", profile, data_dir, as_of, as_json)


@app.command("demo")
def demo_command(profile: Profile = None, data_dir: DataDir = None, as_of: AsOf = None, as_json: Json = False) -> None:
    """Run everything on the 2,469 households of The Complete Journey."""
    _run("demo", profile, data_dir, as_of, as_json)
