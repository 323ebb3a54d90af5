"""Where MLflow's artifacts are: beside the SQLite store that names them, so that both can be moved or copied.

MLflow notes the address of every run and model in its store. Ours, ``winback:/artifacts/...``, names no folder and is
looked up in that of the store which is asked. MLflow's own pages find this module by its entry point.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

SCHEME, SQLITE = "winback", "sqlite:///"
ARTIFACTS = f"{SCHEME}:/artifacts"


def movable_artifacts(artifact_uri: str, tracking_uri: str | None = None, registry_uri: str | None = None) -> Any:  # noqa: ANN401
    """Open the artifacts of an address beside the store that names it."""
    import mlflow  # which imports this module by its entry point, so that ours must come later
    from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository

    served = os.environ.get("_MLFLOW_SERVER_FILE_STORE")  # the store of MLflow's own pages
    database = (tracking_uri or served or mlflow.get_tracking_uri()).removeprefix(SQLITE)
    place = Path(database).absolute().parent / urlsplit(artifact_uri).path.lstrip("/")
    return LocalArtifactRepository(place.as_uri(), tracking_uri, registry_uri)
