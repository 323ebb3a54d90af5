"""Commands that make example apps: the demo with real households, and the simulated app."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from flows.command_line.command_run import flow_of, report_run, run_flow
from flows.command_line.shared_options import AsOf, DataDir, Json, Profile

commands = typer.Typer()
command = partial(commands.command, rich_help_panel="To try")


@command("demo")
def demo_command(
    profile: Profile = "complete_journey", data_dir: DataDir = None, as_of: AsOf = None, as_json: Json = False
) -> None:
    """Run everything on the 2,469 households of The Complete Journey."""
    run_flow("demo", profile, data_dir, as_of, as_json)


@command("simulate")
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
    variant_effect: Annotated[
        float,
        typer.Option(min=-1, max=1, help="share by which messages of other variants than the usual are noticed more"),
    ] = 0.0,
    profile: Profile = "simulated",
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Fill an empty data folder with a simulated app whose truth is known."""
    world = (profile, data_dir, users, days, random_weeks, nothing_share, seed)
    if variant_effect and not is_closed_loop:
        raise typer.BadParameter("only winback decides by variants; add --closed-loop, or leave --variant-effect out")
    loop = partial(flow_of, "closed_loop", *world, weeks, variant_effect)
    run = loop if is_closed_loop else partial(flow_of, "simulate", *world)
    report_run("simulate", run, data_dir, as_json, profile)
