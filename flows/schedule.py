"""The schedule: the deployments that are served, and cleaning up after a server that was killed."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from prefect import Flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.deployments.runner import RunnerDeployment
from prefect.runner import Runner
from prefect.schedules import Cron, Schedule
from prefect.states import Crashed
from prefect.types.entrypoint import EntrypointType

from configs.errors import InputError, first_line
from configs.progress import announce
from configs.run_identity import run_id
from configs.settings import Settings
from features.storage.lake import Lake
from features.storage.local_folder import LocalFolder
from flows.runs.environment import SCHEDULED_BY
from flows.runs.opened_run import open_run
from flows.runs.run_records import RUNNING, recorded, run_records
from flows.scheduled_runs import PERIODS, is_outdated, measure_daily, score_daily, train_weekly

UNENDED = [StateType.RUNNING, StateType.PENDING, StateType.CANCELLING]
CRASHED_BECAUSE = "its process is gone: it was killed, or the machine went down"
COMMAND = "schedule"
AT_ONCE = 3  # processes: one writes, two may wait for it; more wait in Prefect, whatever lies there after a downtime


def schedule(profile: str | None = None, data_dir: str | None = None) -> None:
    """Serve the deployments until stopped, on a server that fires them (`flows.server.start_server`).

    Runs that a killed server or machine left are crashed first, and those of them that are still due begin again. A
    stop leaves the schedules active, so that only a person pauses them.

    Raises
    ------
    InputError
        The data folder is served already, or a cron line of the configuration is none.
    """
    settings, lake, _ = open_run(profile, data_dir, None)
    served = deployments(settings, profile, str(lake.root))
    with one_schedule(lake):
        resume(crash_zombies(lake))
        serve_until_stopped(served, lake)


class StoppableRunner(Runner):
    """Prefect's runner, which SIGTERM, as systemd sends it, ends in order: its own way leaves the loop half-way."""

    def place(self, folder: Path) -> None:
        """Keep files of its own in a folder of ours: its own place among the system's temporary ones is never cleared.

        What a killed one left there goes.
        """
        LocalFolder(folder.parent).remove(folder.name)
        self._tmp_dir = folder

    async def start(self, *given: Any, **more: Any) -> None:  # noqa: ANN401 - as declared
        """Run until stopped."""
        self.serving, self.loop = asyncio.current_task(), asyncio.get_running_loop()
        await super().start(*given, **more)

    def handle_sigterm(self, *_: object, **__: object) -> None:
        """Let the loop end what it does."""
        if self.serving is not None:
            self.loop.call_soon_threadsafe(self.serving.cancel)


def serve_until_stopped(served: list[RunnerDeployment], lake: Lake) -> None:
    """Serve until an interrupt or SIGTERM; to be stopped is no failure."""
    os.environ[SCHEDULED_BY] = str(os.getpid())  # they end with us
    runner = StoppableRunner(pause_on_shutdown=False, limit=AT_ONCE)
    runner.place(lake.path("prefect", "runner"))
    for each in served:
        runner.add_deployment(each)
    with suppress(KeyboardInterrupt, asyncio.CancelledError):
        asyncio.run(runner.start())
    announce("stopped; the schedules stay active, and winback schedule goes on with them")


def planned(profile: str | None, data_dir: str | None) -> dict[str, str]:
    """Say which deployment runs when."""
    settings, lake, _ = open_run(profile, data_dir, None)
    times = settings.schedule
    return {
        f"{each.flow_name}/{each.name}": f"{each.flow_name} runs at {cron} ({times.time_zone})"
        for each, cron in zip(deployments(settings, profile, str(lake.root)), crons(settings), strict=True)
    }


def crons(settings: Settings) -> tuple[str, str, str]:
    """Return the cron lines in the order of the deployments."""
    times = settings.schedule
    return times.score_cron, times.train_cron, times.measure_cron


def deployments(settings: Settings, profile: str | None, data_dir: str) -> list[RunnerDeployment]:
    """Describe the deployments as the configuration has them."""
    flows: tuple[Flow[..., Any], ...] = (score_daily, train_weekly, measure_daily)
    return [
        deployment(flow, _cron(cron, settings), settings, profile, data_dir)
        for flow, cron in zip(flows, crons(settings), strict=True)
    ]


def deployment(
    flow: Flow[..., Any], schedule: Schedule, settings: Settings, profile: str | None, data_dir: str
) -> RunnerDeployment:
    """Describe one deployment, named after the profile. Who writes is decided by the data folder's own lock.

    Prefect's limits are left alone: the slot of a run that was killed is never given back, and cancels all later ones.
    """
    described = flow.to_deployment(
        name=settings.profile,
        schedule=schedule,
        parameters={"profile": profile, "data_dir": data_dir},
        tags=["winback", settings.app, folder_tag(data_dir)],
        description=f"{flow.description} Data folder: {data_dir}.",
        entrypoint_type=EntrypointType.MODULE_PATH,  # by file, Prefect would put flows/ first on the path
    )
    return cast(RunnerDeployment, described)  # a coroutine only where one is awaited


def folder_tag(data_dir: str) -> str:
    """Tag of every run that writes to a data folder."""
    return f"data: {data_dir}"


def _cron(line: str, settings: Settings) -> Schedule:
    try:
        return Cron(line, timezone=settings.schedule.time_zone)
    except ValueError as error:
        raise InputError(
            f"schedule: {line!r} is no cron line ({first_line(error)}); write one such as '0 5 * * *'"
        ) from error


@contextmanager
def one_schedule(lake: Lake) -> Iterator[None]:
    """Be the only one who serves a data folder on this machine; it stands in the records of runs.

    It is written down first and others are looked for then, so that of two who begin at once none overlooks the other.

    Raises
    ------
    InputError
        Somebody serves it already.
    """
    with recorded(lake, COMMAND):
        for record in run_records(lake):
            if record.command == COMMAND and record.outcome == RUNNING and record.run != run_id():
                raise InputError(
                    f"{lake.root} is served already (run {record.run}, process {record.process} on {record.host}, "
                    f"since {record.started}); stop that first"
                )
        yield


def crash_zombies(lake: Lake) -> list[FlowRun]:
    """End the runs on a data folder that can't end any more, so that none runs for ever in Prefect's page.

    A run that outlived its server goes on: whatever began before the oldest run that is still alive is gone.
    """
    alive = [record.started for record in run_records(lake) if record.outcome == RUNNING and record.command != COMMAND]
    oldest = min(map(datetime.fromisoformat, alive), default=datetime.now(UTC))
    with get_client(sync_client=True) as client:
        state = FlowRunFilterState(type=FlowRunFilterStateType(any_=UNENDED))
        found = client.read_flow_runs(flow_run_filter=FlowRunFilter(state=state), limit=200)
        began = [(run.start_time or run.expected_start_time or oldest, run) for run in found if _writes_to(lake, run)]
        gone = [run for start, run in began if start <= oldest]
        for run in gone:
            announce(f"{run.name} had not ended: {CRASHED_BECAUSE}")
            client.set_flow_run_state(run.id, Crashed(message=CRASHED_BECAUSE), force=True)
    return gone


def _writes_to(lake: Lake, run: FlowRun) -> bool:
    """Tell whether a run writes to a data folder, be it the schedule's or one from the command line."""
    place = run.parameters.get("data_dir")
    return folder_tag(str(lake.root)) in run.tags or bool(place and Path(place).absolute() == lake.root)


def resume(crashed: list[FlowRun]) -> None:
    """Begin those again that no later run of their schedule makes up for; what they had finished is not done twice."""
    with get_client(sync_client=True) as client:
        for run in crashed:
            period = PERIODS.get(client.read_flow(run.flow_id).name)
            if run.deployment_id and period and not is_outdated(run.expected_start_time, period):
                announce(f"{run.name} begins again")
                asked = {name: day for name, day in run.parameters.items() if name == "as_of"}
                client.create_flow_run_from_deployment(run.deployment_id, parameters=asked)
