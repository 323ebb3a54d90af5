"""Reading of stored estimators in formats that cannot run code: LightGBM's model text, and skops with a list of types.

MLflow writes them and loads none of them. Its ``load_model`` does what the ``MLmodel`` file beside a model says, which
may name another flavour, a pickle or types to trust. Here the family of the model says what is read, and an ``MLmodel``
that says anything else is refused before a library sees the file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import lightgbm as lgb
import yaml

from configs.errors import first_line
from models.estimator_families.estimators import Estimator
from models.forest.model_text import checked_model_text
from models.registry.artifact_digests import UnreadableModelError

Read = Callable[[str], bytes]  # of a file by its name in the folder of a model
MLMODEL = "MLmodel"


def read_core(read: Read, family: type[Estimator], columns: int) -> object:
    """Read the core of a model of some family, and of so many columns.

    Raises
    ------
    UnreadableModelError
        Its files say that it is something else, or cannot be read; the sentence says no more than that.
    """
    file, settled, core_of = FORMATS[family.flavour]
    _check_described(read(MLMODEL), family.flavour, file, settled)
    content = read(file)
    try:
        core, found = core_of(content, family)
    except Exception as error:  # whatever the libraries say of a file that they cannot read
        raise UnreadableModelError(f"{file}: {first_line(error)}") from error
    if found != columns:
        raise UnreadableModelError(f"{file} has {found} columns, and its description {columns}")
    return core


def _check_described(content: bytes, flavour: str, file: str, settled: Mapping[str, str]) -> None:
    """Refuse an MLmodel that would have MLflow load another class or format, or run code that lies beside it."""
    try:
        flavours = yaml.safe_load(content.decode())["flavors"]
        own, generic = flavours[flavour], flavours["python_function"]
        found = {name: own.get(name) for name in settled}
        files, code = {own.get("data", file), own.get("pickled_model", file)}, [own.get("code"), generic.get("code")]
        found |= {"loader_module": generic.get("loader_module"), "file": "".join(files), "flavours": sorted(flavours)}
    except (ValueError, TypeError, KeyError, AttributeError, yaml.YAMLError, RecursionError) as error:
        raise UnreadableModelError(f"{MLMODEL} describes no {flavour} model ({first_line(error)})") from error
    wanted: dict[str, object] = {**settled, "loader_module": f"mlflow.{flavour}", "file": file}
    wanted["flavours"] = sorted([flavour, "python_function"])
    for name, value in wanted.items():
        if found[name] != value:
            raise UnreadableModelError(f"{MLMODEL} names {name} {found[name]!r}, and {value!r} alone is loaded")
    if any(code):
        raise UnreadableModelError(f"{MLMODEL} names code of its own, which is not loaded")


def _booster(content: bytes, family: type[Estimator]) -> tuple[Any, int]:  # noqa: ARG001 - as every format
    booster = lgb.Booster(model_str=checked_model_text(content.decode()))
    return booster, booster.num_feature()


def _pipeline(content: bytes, family: type[Estimator]) -> tuple[Any, int]:
    from skops.io import loads  # takes its time to come

    trusted: Any = family.save_options.get("skops_trusted_types")
    core = loads(content, trusted=trusted)
    return core, core.n_features_in_


FORMATS: dict[str, tuple[str, dict[str, str], Callable[[bytes, type[Estimator]], tuple[Any, int]]]] = {
    "lightgbm": ("model.lgb", {"model_class": "lightgbm.basic.Booster"}, _booster),
    "sklearn": ("model.skops", {"serialization_format": "skops"}, _pipeline),
}
