"""Notification of failed scheduled runs: the reason is stored, and posted to the operator's webhook.

Nothing connects anywhere unless an address is configured.
"""

from __future__ import annotations

import json
import os
import socket
import urllib.request
from dataclasses import replace
from datetime import UTC, datetime
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from configs.errors import InputError
from configs.progress import announce
from features.storage.lake import Lake
from flows.runs.environment import data_folder
from flows.runs.kept_profile import settings_of
from flows.runs.run_records import FAILED, RunRecord, keep_record, run_records

if TYPE_CHECKING:
    from prefect import Flow
    from prefect.client.schemas.objects import FlowRun, State

ADDRESS_VARIABLE = "WINBACK_WEBHOOK_URL"
ANSWERS_WITHIN = 30.0  # seconds


def tell_failure(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Keep the reason of a scheduled run that failed or crashed, and post it; Prefect calls this.

    A crashed run is told of by the process that started it, as its own is gone.
    """
    profile, data_dir = (flow_run.parameters.get(name) for name in ("profile", "data_dir"))
    root = data_folder(profile, data_dir)
    record = failed_record(Lake(root), flow, flow_run, state)
    try:
        address = webhook_address(settings_of(profile, root).schedule.webhook_secret)
    except InputError:  # the configuration is what is wrong: nobody can say where the secret lies
        address = os.environ.get(ADDRESS_VARIABLE)
    if address:
        post(address, notice(record, root))


def failed_record(lake: Lake, flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> RunRecord:
    """Find the record of a run, and make one where it failed before it could leave its own."""
    name = str(flow_run.id)
    found = next((each for each in reversed(run_records(lake, 100)) if each.flow_run == name), None)
    now = datetime.now(UTC).isoformat(timespec="microseconds")
    if found is None:
        day, here = flow_run.parameters.get("as_of"), (socket.gethostname(), os.getpid())
        began = flow_run.start_time.isoformat(timespec="microseconds") if flow_run.start_time else now
        reason = " ".join(str(state.message or state.name).split())
        found = RunRecord(uuid4().hex[:12], flow.name, day and str(day), began, now, FAILED, reason, *here, name)
    elif found.ended is None:  # it was killed
        found = replace(found, ended=now)
    else:
        return found
    keep_record(lake, found)
    return found


def notice(record: RunRecord, root: Path) -> dict[str, str | None]:
    """Put a failed run into the one object that is posted."""
    return {
        "text": f"winback {record.command} {record.outcome}: {record.reason}",  # what chat rooms show
        "command": record.command,
        "outcome": record.outcome,
        "reason": record.reason,
        "run": record.run,
        "as_of": record.as_of,
        "started": record.started,
        "ended": record.ended,
        "host": record.host,
        "data": root.name,
        "flow_run": record.flow_run,
    }


def webhook_address(secret: str) -> str | None:
    """Find where failures are posted to: in a Secret block of Prefect, else in the environment; None for nowhere."""
    if not secret:
        return os.environ.get(ADDRESS_VARIABLE)
    from prefect.blocks.system import Secret

    return str(Secret.load(secret).get())  # type: ignore[union-attr]


def post(address: str, content: dict[str, str | None]) -> None:
    """Post an object as JSON; where that fails, it is told without the address, which may be a secret."""
    if not address.startswith(("https://", "http://")):
        announce("the address that failures are posted to begins with neither https:// nor http://: nobody was told")
        return
    try:
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(address, json.dumps(content).encode(), headers)  # noqa: S310 - checked above
        urllib.request.urlopen(request, timeout=ANSWERS_WITHIN).close()  # noqa: S310
    except (OSError, ValueError, HTTPException) as error:
        announce(f"the failure could not be posted ({getattr(error, 'reason', type(error).__name__)})")
