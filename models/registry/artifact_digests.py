"""Digests of a registered model's files, kept in the registry and checked at every read.

The digests are a tag of the model's version in MLflow's store. Who can change a file beside a model cannot change
what the registry says of it; a file is used only as the bytes that were checked.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256

from pydantic import TypeAdapter, ValidationError

from configs.errors import InputError
from features.storage.lake import Lake
from features.storage.whole_writes import content_hash

DIGEST, ESTIMATOR, MODEL = "artifacts_digest", "estimator.json", "model/MLmodel"
OF_MLFLOW = "registered_model_meta"  # written beside a model after it was registered


class UnreadableModelError(InputError):
    """A model that is registered but cannot be used: its files are gone, changed, or of a kind that is not loaded."""


@dataclass
class StoredVersion:
    """One version: its tags, and the folders of its model and its run in the lake, None where they are not ours."""

    model: str | None
    run: str | None
    tags: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What decisions call it."""
        return self.tags.get("name", "a model of a name that is not kept")

    @property
    def digests(self) -> Mapping[str, str]:
        """Digests of its files by their names; empty where an older winback registered it.

        Raises
        ------
        UnreadableModelError
            The registry's tag holds something else.
        """
        kept = self.tags.get(DIGEST, "{}")
        try:
            return TypeAdapter(dict[str, str]).validate_json(kept if kept.startswith("{") else "{}")
        except ValidationError as error:
            raise UnreadableModelError(f"its tag {DIGEST} in the registry holds no digests") from error


def files_of(lake: Lake, model: str, run: str) -> dict[str, str]:
    """Find the files that a version is read back from; pictures are none of them.

    Parameters
    ----------
    model, run
        Folders in the lake.

    Returns
    -------
    Their names in the lake by ``model/...``, ``folds/...`` and ``estimator.json``.
    """
    own = {f"model/{name.removeprefix(f'{model}/')}": name for name in lake.files.list(f"{model}/**/*")}
    folds = {name.removeprefix(f"{run}/"): name for name in lake.files.list(f"{run}/folds/**/*")}
    found = {name: place for name, place in {**own, **folds}.items() if not name.endswith(OF_MLFLOW)}
    return found | ({ESTIMATOR: f"{run}/{ESTIMATOR}"} if lake.files.exists(f"{run}/{ESTIMATOR}") else {})


def digests_tag(lake: Lake, model: str, run: str) -> str:
    """Write the digests of a version's files, as the registry keeps them; `model` and `run` as in `files_of`."""
    names = files_of(lake, model, run).items()
    return json.dumps({name: _digest(lake.files.read(place)) for name, place in sorted(names)})


def read_checked(lake: Lake, version: StoredVersion, name: str) -> bytes:
    """Read one of the files of a version, named as `files_of` does.

    Raises
    ------
    UnreadableModelError
        It is gone, or is not the file that was registered; the sentence says no more than that.
    """
    place = _place(version, name)
    if place is None or not lake.files.exists(place):
        raise UnreadableModelError(f"{name} is gone")
    content, wanted = lake.files.read(place), version.digests.get(name)
    if wanted is None and version.digests:
        raise UnreadableModelError(f"{name} was not registered with it")
    if wanted not in (None, _digest(content)):
        found = f"{len(content):,} bytes with digest {_digest(content)}" if content else "an empty file"
        raise UnreadableModelError(f"{name} is {found}, and {wanted} was registered")
    return content


def damage_of(lake: Lake, version: StoredVersion) -> str:
    """Say which file of a version is not as it was registered; empty where all are."""
    if version.model is None or version.run is None:
        return "its files lie outside of this data folder"
    try:
        own = version.digests.keys()
        there = files_of(lake, version.model, version.run).keys() if own else set()
        for name in sorted({ESTIMATOR, MODEL} | own | there):
            read_checked(lake, version, name)
    except UnreadableModelError as error:
        return str(error)
    return "" if own or _is_as_one_digest_says(lake, version) else "one of its files was changed"


def _place(version: StoredVersion, name: str) -> str | None:
    if name.startswith("model/"):
        return f"{version.model}/{name.removeprefix('model/')}" if version.model else None
    return f"{version.run}/{name}" if version.run else None


def _digest(content: bytes) -> str:
    return sha256(content).hexdigest()[:16]


def _is_as_one_digest_says(lake: Lake, version: StoredVersion) -> bool:
    """Compare with the one digest of all files that an older winback kept, if there is one."""
    if DIGEST not in version.tags:
        return True
    own = [name for name in lake.files.list(f"{version.model}/**/*") if not name.endswith(OF_MLFLOW)]
    names = [*own, *lake.files.list(f"{version.run}/folds/**/*"), f"{version.run}/{ESTIMATOR}"]
    kept = content_hash(*map(lake.path, names), text="|".join(name.rpartition("/")[2] for name in names))
    return kept == version.tags[DIGEST]
