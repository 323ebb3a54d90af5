"""The process as winback's frameworks need it, set before Prefect, MLflow or matplotlib is imported."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

from configs.settings import load_settings
from features.lake import Lake

QUIET = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_LOGGING_LEVEL": "CRITICAL",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    "PREFECT_CLI_WRAP_LINES": "false",
    "DO_NOT_TRACK": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}


def prepare(data_dir: str | None = None) -> None:
    """Silence telemetry and chatter, and keep Prefect's own files in the data folder.

    What the operator has set in the environment wins.

    Raises
    ------
    InputError
        The data folder cannot be written.
    """
    folder = load_settings(None, Path(data_dir) if data_dir else None).data_dir
    Lake(folder).require_writable()
    for name, value in {**QUIET, "PREFECT_HOME": str(folder / "prefect")}.items():
        os.environ.setdefault(name, value)
    hush()


def hush() -> None:
    """Keep the deprecations of libraries off the operator's screen; Feast shows them again when it is imported."""
    warnings.filterwarnings("ignore", category=DeprecationWarning)
