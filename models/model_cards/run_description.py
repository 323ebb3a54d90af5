"""The description of a training for MLflow: settings, code version, feature service."""

from __future__ import annotations

import subprocess
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path

from configs.named_files import FOLDER
from configs.run_identity import run_id
from configs.section import Section
from configs.settings import MACHINES, Settings
from features.definitions.registry import TRAINING_SERVICE
from features.storage.whole_writes import content_hash
from models.estimator_families.estimators import Estimator

IRRELEVANT = MACHINES | {"scoring", "profile", "ingest", "offers", "guards"}  # of offers the rows say what counts
LONGEST = 6000  # signs that MLflow takes of a parameter


@dataclass(frozen=True)
class TrainingRun:
    """One training, as the parent of its candidates' runs; a rerun has the same `key`.

    `tags` go to the candidates too.
    """

    as_of: date
    key: str
    parameters: Mapping[str, object]
    tags: Mapping[str, str]


def training_run(settings: Settings, as_of: date) -> TrainingRun:
    """Describe the training of a day."""
    relevant = relevant_settings(settings)
    named = {"as_of": as_of, "profile": settings.profile, **_flat(settings, without=IRRELEVANT)}
    tags = {"feast.feature_service": TRAINING_SERVICE, "feast.feature_views": TRAINING_SERVICE} | code_tags(settings)
    return TrainingRun(as_of, content_hash(text=f"{relevant}|{as_of}"), named, tags)


def relevant_settings(settings: Settings) -> str:
    """Write the settings that a model depends on."""
    return settings.model_dump_json(exclude=IRRELEVANT)


def parameters(settings: Settings, estimator: Estimator, rows: int) -> dict[str, object]:
    """Parameters in which the runs of candidates may differ: the rows, the family and all that it was fitted with."""
    core = estimator.core[-1].get_params() if estimator.flavour == "sklearn" else {}
    fitted = {name: value for name, value in core.items() if isinstance(value, (bool, int, float, str))}
    horizons = {
        "churn_lookback_days": settings.churn.lookback_days,
        "churn_horizon_days": settings.churn.horizon_days,
        "value_horizon_days": settings.value.horizon_days,
        "holdout_days": settings.training.holdout_days,
    }
    return {
        "rows": rows,
        "family": estimator.family,
        "link": estimator.link,
        "columns_count": len(estimator.columns),
        "columns": ", ".join(estimator.columns)[:LONGEST],
        "seed": settings.seed,
        "profile": settings.profile,
        **horizons,
        **fitted,
        **estimator.parameters(settings),
    }


def code_tags(settings: Settings) -> dict[str, str]:
    """Name the run and the code of a training: winback's version and, where the profile is in a repository, its commit.

    A profile of one's own is looked for where its source or its catalogue lies, a shipped one in winback's folder.
    """
    own = [Path(name) for name in (settings.ingest.source, settings.offers) if Path(name).suffix]
    commit = _commit([*own, FOLDER / "defaults.toml"][0])
    named = {"winback.version": version("winback"), "winback.run": run_id()}
    return named | ({"mlflow.source.git.commit": commit} if commit else {})


def _commit(file: Path) -> str:
    """Find the commit of a file's repository, marked where something in it was changed since; empty without one."""
    is_in, head = ("ls-files", "--error-unmatch", file.name), ("describe", "--always", "--dirty", "--abbrev=40")
    try:
        answers = [
            subprocess.run(["git", "-C", str(file.parent), *words], capture_output=True, text=True, check=True)  # noqa: S603, S607
            for words in (is_in, (*head, "--exclude=*"))
        ]
    except (OSError, subprocess.CalledProcessError):  # no git, no repository, or a file that is not in it
        return ""
    return answers[-1].stdout.strip()


def _flat(section: Section, prefix: str = "", without: Collection[str] = ()) -> dict[str, object]:
    """Name nested settings by their path; a table whose keys are an app's own words is one value."""
    found: dict[str, object] = {}
    for name in type(section).model_fields.keys() - set(without):
        value = getattr(section, name)
        found |= _flat(value, f"{prefix}{name}.") if isinstance(value, Section) else {f"{prefix}{name}": value}
    return {name: found[name] for name in sorted(found)}
