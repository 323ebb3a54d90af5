"""How long a day takes and what it needs, from the events of yesterday to the decisions of today, by number of users.

Run as a script it prints one JSON object and writes it, with a picture, beside itself; ``--quick`` takes small apps.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import date, timedelta
from functools import wraps
from pathlib import Path
from typing import Any

from timing import Metrics, metric

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
DAYS = 90
THINNED = 0.25  # of the usual habit: about fifty events per user and quarter
RUNS = 3
OPTIONS = {"come_back": (0.0, 0.1, 0.2, 0.3), "favourites": (0.0, 0.05, 0.1, 0.15), "basket": (0.0, 0.05, 0.1, 0.15)}
CHANNELS = {"come_back": ("push", 0.10), "favourites": ("email", 0.09), "basket": ("in_app", 0.09)}
MEASURED = {"wall": "seconds of a daily run", "mib": "peak memory, MiB"}

# parts of a day, outermost first, and the function that each of them is
PARTS = {
    "aggregates of the new day": "features.materialise.build_daily:build_aggregates",
    "snapshot of the new day": "features.training_data.snapshot_run:bring_snapshots_up_to_date",
    "guards of the day's events": "serving.decide.decided_day:data_guards",
    "models loaded": "serving.decide.decided_day:choose_models",
    "guards of models: the users they are asked about": "serving.decide.chosen_models:sampled_users",
    "guards of models: predictions": "serving.guards.model_guards:model_findings",
    "guards of models: what came of earlier ones": "serving.decide.chosen_models:realised_calibration",
    "features read through Feast": "serving.decide.decided_day:scoring_batch",
    "risk and value": "models.estimator_families.estimators:Estimator.predict",
    "reasons: exact SHAP": "serving.decide.scoring:add_risk_reasons",
    "12 options: redemption": "serving.valuation.options:p_redeem_each",
    "12 options: effects": "serving.valuation.options:_personal_effects",
    "batches spooled": "serving.decide.scoring:Spool.put",
    "draws and allocation input": "serving.decide.decisions:allocation_input",
    "allocation": "serving.decide.decisions:assign",
    "budget curve": "serving.decide.decisions:curve_table",
    "batches fetched": "serving.decide.scoring:Spool.get",
    "decisions and reasons": "serving.decide.decisions:tables_of",
    "Parquet written": "pyarrow.parquet:ParquetWriter.write_table",
    "tastes and hours of those who are told": "serving.decide.decided_day:read_preferences",
    "treatments landed": "serving.stored_days.ledger:land",
    "digests of what is published": "features.publishing.publication:StagedFiles.commit",
    "digests of what is read": "features.storage.local_folder:check_file",
    "lock taken": "features.storage.writer_lock:_taken_at_once",
    "lock still held": "features.storage.local_folder:require_still_held",
    "report": "serving.report_page.report:write_report",
}


@dataclass(frozen=True)
class Cost:
    """What a process took."""

    wall: float
    cpu: float
    mib: float


@dataclass(frozen=True)
class App:
    """A simulated app in a folder; its newest day is decided by the benchmark."""

    folder: Path
    users: int
    days: int

    @property
    def today(self) -> date:
        """Day that is decided."""
        return date(2024, 1, 1) + timedelta(days=self.days)

    @property
    def data(self) -> Path:
        """Data folder."""
        return self.folder / "data"

    @property
    def profile(self) -> Path:
        """Profile of the app."""
        return self.folder / "app.toml"

    def make(self) -> dict[str, Cost]:
        """Simulate it, build the features of the day before and train; returns what each took."""
        self.folder.mkdir(parents=True)
        write_profile(self)
        made = {
            "simulate": cost_of(
                [sys.executable, __file__, "--simulate", str(self.folder), str(self.users), str(self.days)]
            )
        }
        yesterday = self.today - timedelta(days=1)
        for command in ("build-features", "train-models"):
            made[command] = self.run(command, yesterday)
        shutil.copytree(self.data / "checkpoint", self.folder / "checkpoint")
        return made

    def run(self, command: str, as_of: date) -> Cost:
        """Run a command of winback in a process of its own."""
        words = ["--profile", str(self.profile), "--data-dir", str(self.data), "--as-of", str(as_of), "--json"]
        return cost_of([sys.executable, "-W", "ignore", "-c", "from flows.cli import main; main()", command, *words])

    def day(self) -> tuple[Cost, dict[str, float]]:
        """Decide today as if it had not been decided; returns what that took, and the seconds of each flow."""
        self.forget_today()
        said: list[str] = []
        cost = cost_of([sys.executable, "-W", "ignore", __file__, "--day", str(self.folder), str(self.today)], said)
        return cost, json.loads(said[-1])

    def forget_today(self) -> None:
        """Throw away what a run of today leaves."""
        from features.storage.lake import Lake

        yesterday = self.today - timedelta(days=1)
        made = [("aggregates", yesterday), ("category_hour_counts", yesterday)]
        made += [(table, self.today) for table in ("snapshots", "decisions", "ledger", "treatments", "reports")]
        with Lake(self.data).files.publish() as publication:
            for table, day in made:
                publication.remove(f"{table}/day={day}")
        shutil.rmtree(self.data / "checkpoint", ignore_errors=True)
        shutil.copytree(self.folder / "checkpoint", self.data / "checkpoint")

    def events(self) -> int:
        """Count the events."""
        import duckdb

        found = duckdb.sql(f"SELECT count(*) FROM read_parquet('{self.data}/events/*/*.parquet')").fetchall()
        return int(found[0][0])


def write_profile(app: App) -> None:
    """Write the app's profile: the simulated one with a catalogue of twelve options."""
    offers = []
    for name, discounts in OPTIONS.items():
        channel, contact = CHANNELS[name]
        offers.append(
            f'[{name}]\ntitle = "{name}"\nplay = "{name}"\nchannel = "{channel}"\n'
            'message = "{{ discount }} off {{ category }}"\n'
            f'plain_message = "New in {{{{ category }}}}"\ndiscounts = {list(discounts)}\nvalid_days = 7\n'
            f"contact_cost = {contact}\ncovered_spend = 25.0\n"
        )
    (app.folder / "offers.toml").write_text("\n".join(offers), encoding="utf-8")
    usual = (REPOSITORY / "configs/profiles/simulated.toml").read_text(encoding="utf-8")
    budget = app.users / 100
    text = usual.replace('offers = "simulated"', f'offers = "{app.folder / "offers.toml"}"')
    app.profile.write_text(text.replace("budget = 1_000.0", f"budget = {budget}"), encoding="utf-8")


def simulate(folder: str, users: str, days: str) -> None:
    """Simulate an app; runs in a process of its own."""
    from configs.offers import load_catalogue
    from configs.settings import load_settings
    from features.simulator import simulator_run as simulation
    from features.storage.lake import Lake

    settings = load_settings(str(Path(folder) / "app.toml"), Path(folder) / "data")
    lake = Lake(settings.data_dir)
    lake.files.require_writable()
    world = simulation.new_world(settings, load_catalogue(settings.offers), int(users), days=int(days))
    world = replace(world, people=replace(world.people, habit=world.people.habit * THINNED))
    simulation.simulate(settings, lake, world, int(days), 4, 0.3)


def cost_of(command: list[str], output: list[str] | None = None) -> Cost:
    """Run a process and say what it took; `output` gets the lines that it prints."""
    own = {**os.environ, "PYTHONPATH": str(REPOSITORY), "GOMP_SPINCOUNT": "0", "PREFECT_LOGGING_LEVEL": "ERROR"}
    started = time.perf_counter()
    with tempfile.TemporaryFile() as said, subprocess.Popen(command, env=own, stdout=said, stderr=said) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        said.seek(0)
        text = said.read().decode()
        if process.returncode:
            raise RuntimeError(text[-2000:])
    if output is not None:
        output += text.splitlines()
    return Cost(time.perf_counter() - started, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def day(folder: str, as_of: str) -> None:
    """Run a day as the schedule does, from the features on, in one flow; runs in a process of its own."""
    from flows.runs.environment import prepare

    own = {"profile": str(Path(folder) / "app.toml"), "data_dir": str(Path(folder) / "data")}
    prepare(own["data_dir"])
    from flows.server import start_server

    wait_for_server = start_server()
    from prefect import flow

    from flows.build_features import build_features
    from flows.score_users import score_users

    seconds = {}

    @flow(name="day")
    def decide() -> None:
        for step, more in ((build_features, {"only_today": True}), (score_users, {})):
            started = time.perf_counter()
            step(**own, as_of=date.fromisoformat(as_of), **more)
            seconds[step.name] = time.perf_counter() - started

    wait_for_server()
    decide()
    sys.stdout.write(json.dumps(seconds) + "\n")


def profile(folder: str, as_of: str) -> None:
    """Print the CPU seconds of each part of a day, one batch after another; runs in a process of its own."""
    from configs.settings import load_settings
    from features.materialise import build_daily
    from features.storage.lake import Lake
    from features.training_data import snapshot_run
    from serving.decide import decided_day
    from serving.decide import scoring as batches
    from serving.report_page import report

    spent: dict[str, float] = {}
    inside: list[str] = []
    for part, place in PARTS.items():
        _time(part, place, spent, inside)
    batches.AT_ONCE = 1
    settings = load_settings(str(Path(folder) / "app.toml"), Path(folder) / "data")
    lake, day = Lake(settings.data_dir), date.fromisoformat(as_of)
    started = time.process_time()
    build_daily.build_aggregates(settings, lake)
    snapshot_run.bring_snapshots_up_to_date(settings, lake, day, only_today=True)
    decided_day.decide_day(settings, lake, day)
    report.write_report(settings, lake, day)
    spent["everything else"] = time.process_time() - started - sum(spent.values())
    sys.stdout.write(json.dumps(spent) + "\n")


def _time(part: str, place: str, spent: dict[str, float], inside: list[str]) -> None:
    """Let a function add what it takes to `spent`, less what timed functions inside of it take."""
    module, path = place.split(":")
    __import__(module)
    owner: Any = sys.modules[module]
    *owners, name = path.split(".")
    for each in owners:
        owner = getattr(owner, each)
    function: Callable[..., object] = getattr(owner, name)

    @wraps(function)
    def timed(*args: object, **kwargs: object) -> object:
        before, others = time.process_time(), sum(spent.values())
        try:
            return function(*args, **kwargs)
        finally:
            nested = sum(spent.values()) - others
            spent[part] = spent.get(part, 0.0) + time.process_time() - before - nested

    setattr(owner, name, timed)


def parts_of(app: App) -> dict[str, float]:
    """CPU seconds of each part of a day."""
    app.forget_today()
    command = [sys.executable, "-W", "ignore", __file__, "--profile", str(app.folder), str(app.today)]
    own = {**os.environ, "PYTHONPATH": str(REPOSITORY), "GOMP_SPINCOUNT": "0", "PREFECT_LOGGING_LEVEL": "ERROR"}
    found: dict[str, float] = json.loads(subprocess.check_output(command, env=own).splitlines()[-1])
    return found


def measure(app: App, runs: int) -> Metrics:
    """Measure the day of an app some times."""
    made = app.make()
    days = [app.day() for _ in range(runs)]
    name = f"daily.{app.users}_users.{app.days}_days"
    found = {f"{name}.events": metric([float(app.events())], app.users)}
    for measure_of in ("wall", "cpu", "mib"):
        found[f"{name}.{measure_of}"] = metric([getattr(cost, measure_of) for cost, _ in days], app.users)
        for step, cost in made.items():
            found[f"{name}.before.{step}.{measure_of}"] = metric([getattr(cost, measure_of)], app.users)
    for step in days[0][1]:
        found[f"{name}.{step}.wall"] = metric([seconds[step] for _, seconds in days], app.users)
    for part, seconds in parts_of(app).items():
        found[f"{name}.part.{part}.cpu"] = metric([seconds], app.users)
    return found


def apps(quick: bool, folder: Path) -> Iterator[App]:
    """List the apps that are measured: growing in users, and one with twice the history."""
    sizes = (1_000, 4_000) if quick else (10_000, 100_000, 1_000_000)
    for users in sizes:
        yield App(folder / f"{users}", users, DAYS)
    yield App(folder / f"{sizes[-2]}-long", sizes[-2], 2 * DAYS)


def growth(found: Metrics, quick: bool) -> Metrics:
    """Say how time per user and memory grow, with users and with days of history."""
    small, large = (1_000, 4_000) if quick else (100_000, 1_000_000)

    def of(users: int, days: int, name: str) -> float:
        return found[f"daily.{users}_users.{days}_days.{name}"]["value"]

    ratios = {
        "growth.wall_per_user": of(large, DAYS, "wall") / large / (of(small, DAYS, "wall") / small),
        "growth.mib_with_users": of(large, DAYS, "mib") / of(small, DAYS, "mib"),
        "growth.wall_with_history": of(small, 2 * DAYS, "wall") / of(small, DAYS, "wall"),
        "growth.mib_with_history": of(small, 2 * DAYS, "mib") / of(small, DAYS, "mib"),
    }
    return {name: metric([ratio], large) for name, ratio in ratios.items()}


def run(quick: bool = False, only: str = "") -> Metrics:
    """Measure everything; quick takes small apps, `only` one of them, such as ``100000x90``."""
    results = HERE / "daily.json"
    found: Metrics = {} if quick or not results.exists() else json.loads(results.read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as place:
        for app in apps(quick, Path(place)):
            if only in ("", f"{app.users}x{app.days}"):
                found |= measure(app, 1 if quick else RUNS)
                shutil.rmtree(app.folder)
            if not quick:
                results.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return found


def draw(found: Metrics, path: Path) -> None:
    """Draw seconds and memory of a day against the number of users, and against the days of history."""
    from matplotlib import pyplot

    from models.model_cards.pictures import STYLE

    names = [re.fullmatch(r"daily\.(\d+)_users\.(\d+)_days\.wall", name) for name in found]
    sizes = sorted((int(name[1]), int(name[2])) for name in names if name)
    longer = next(users for users, days in sizes if days != DAYS)
    by_users = {users: (users, days) for users, days in sizes if days == DAYS}
    by_days = {days: (users, days) for users, days in sizes if users == longer}
    with pyplot.rc_context(STYLE):
        figure, axes = pyplot.subplots(2, 2, figsize=(9, 6.4))
        for (measured, title), column in zip(MEASURED.items(), axes.T, strict=True):
            for axis, apps_at in zip(column, (by_users, by_days), strict=True):
                place = list(apps_at)
                keys = [f"daily.{users}_users.{days}_days.{measured}" for users, days in apps_at.values()]
                height = [found[key]["value"] for key in keys]
                axis.plot(place, height, marker="o")
                axis.set(title=title, ylim=(0, 1.15 * max(height)))
                for at, number in zip(place, height, strict=True):
                    above = {"textcoords": "offset points", "xytext": (0, 7), "ha": "center"}
                    axis.annotate(f"{number:,.0f}", (at, number), **above)
            column[0].set(xscale="log", xlabel=f"users, {DAYS} days of history")
            column[1].set(xlim=(0, 1.15 * max(by_days)), xticks=list(by_days))
            column[1].set(xlabel=f"days of history, {longer:,} users")
        figure.tight_layout()
        figure.savefig(path, dpi=110)


def main() -> None:
    """Print the metrics, or do one step in a process of its own."""
    for step, function in (("--simulate", simulate), ("--day", day), ("--profile", profile)):
        if step in sys.argv:
            function(*sys.argv[sys.argv.index(step) + 1 :])
            return
    quick, only = "--quick" in sys.argv, [word for word in sys.argv[1:] if "x" in word]
    found = run(quick, *only)
    if not only:
        found |= growth(found, quick)
    if not quick and not only:
        (HERE / "daily.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        draw(found, HERE / "daily.png")
    print(json.dumps(found, indent=1))  # noqa: T201


if __name__ == "__main__":
    main()
