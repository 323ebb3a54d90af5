"""The place of MLflow's artifacts: beside its SQLite store, so that a data folder can be moved or copied.

MLflow notes the address of every run and model in its store. Ours, ``winback:/artifacts/...``, names no folder and is
looked up in that of the store which is asked; where that is a database, in the data folder of the process, which
MLflow's own pages are told by ``WINBACK_DATA_DIR``. They find this module by its entry point.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from configs.settings import DATA_DIR_VARIABLE

SCHEME, SQLITE = "winback", "sqlite:///"
FOLDER = "mlflow"  # of the data folder
ARTIFACTS = f"{SCHEME}:/artifacts"


_folders: dict[str, Path] = {}  # of this process, by the address of a store that is a database


def keep_beside(tracking_uri: str, folder: Path) -> None:
    """Look the artifacts of a database up in a folder of the data folder."""
    _folders[tracking_uri] = folder


def movable_artifacts(artifact_uri: str, tracking_uri: str | None = None, registry_uri: str | None = None) -> Any:  # noqa: ANN401
    """Open the artifacts of an address beside the store that names it."""
    import mlflow  # which imports this module by its entry point, so that ours must come later
    from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository

    served = os.environ.get("_MLFLOW_SERVER_FILE_STORE")  # the store of MLflow's own pages
    address = tracking_uri or served or mlflow.get_tracking_uri()
    known = _folders.get(address) or Path(os.environ.get(DATA_DIR_VARIABLE, "data"), FOLDER)
    beside = Path(address.removeprefix(SQLITE)).parent if address.startswith(SQLITE) else known
    place = beside.absolute() / urlsplit(artifact_uri).path.lstrip("/")
    return LocalArtifactRepository(place.as_uri(), tracking_uri, registry_uri)
