"""How a command runs and ends: it calls its flow, prints the outcome, and returns an exit code."""

from __future__ import annotations

import gc
import importlib
import resource
import sys
import traceback
from collections.abc import Callable
from datetime import date, datetime
from functools import partial
from typing import TYPE_CHECKING, NoReturn

import typer

from flows.command_line.strict_json import strict_json
from serving.wording.visible_text import visible

if TYPE_CHECKING:
    from flows.runs.outcome import Outcome

BAD_INPUT, FAILED = 2, 1


def run_flow(
    command: str,
    profile: str | None,
    data_dir: str | None,
    as_of: datetime | None,
    as_json: bool,
    **more: str | bool | date | None,
) -> None:
    """Run the flow that bears the command's name."""
    run = partial(flow_of, command.replace("-", "_"), profile, data_dir, day_of(as_of), **more)
    report_run(command, run, data_dir, as_json, profile)


def flow_of(name: str, *given: object, **more: object) -> Outcome:
    """Run the flow of the module of the same name, which is imported while Prefect's server starts."""
    from flows.runs.environment import hush
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


def report_run(
    command: str, run: Callable[[], Outcome], data_dir: str | None, as_json: bool, profile: str | None = None,
    *, writes: bool = True,
) -> None:  # fmt: skip
    """Run a command that ends in an outcome and say how it went."""
    from flows.runs.run_clock import command_begins, seconds_taken

    command_begins()

    def show() -> None:
        outcome = run()
        seconds = seconds_taken()
        peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        if as_json:
            typer.echo(strict_json(outcome.as_dict(round(seconds, 1), peak_mib)))
        outcome.show(sys.stderr if as_json else sys.stdout, seconds, peak_mib)

    guarded(command, show, data_dir, as_json, profile, writes=writes)


def show_answer(
    command: str, function: str, given: tuple[object, ...], profile: str | None, data_dir: str | None, as_json: bool,
    *more: object, module: str = "lookup", writes: bool = False,
) -> None:  # fmt: skip
    """Print the page that a function of a module of the flows makes, or its facts for machines."""

    def show() -> None:
        answer = getattr(importlib.import_module(f"flows.{module}"), function)
        page, facts = answer(*given, profile, data_dir, *more)
        typer.echo(strict_json(facts, 1) if as_json else visible(page))

    guarded(command, show, data_dir, as_json, profile, writes=writes)


def guarded(
    command: str, show: Callable[[], None], data_dir: str | None, as_json: bool, profile: str | None = None,
    *, writes: bool = True,
) -> None:  # fmt: skip
    """Turn bad input into a sentence and its exit code, anything else into exit code 1; an object for machines too.

    A command that does not write makes no data folder, and asks for none that may be written.
    """
    from configs.errors import InputError
    from flows.runs.environment import prepare

    try:
        prepare(data_dir, profile if writes else None, writes=writes)
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
    typer.echo(visible(f"winback {command}: {sentence}"), err=True)
    raise typer.Exit(code)


def day_of(as_of: datetime | None) -> date | None:
    """Return the day of a moment that the command line was given."""
    return as_of.date() if as_of else None
