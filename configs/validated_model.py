"""Validation of values from a file into a frozen model, with one short sentence for all that is wrong."""

from __future__ import annotations

import reprlib
from typing import TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from configs.errors import MOST_SIGNS, InputError, did_you_mean, shortened

Model = TypeVar("Model", bound=BaseModel)
MEANT = {
    "float_type": "must be a number, without quotes",
    "int_type": "must be a whole number (an integer), without point or quotes",
    "int_from_float": "must be a whole number (an integer), without point or quotes",
    "string_type": "must be a text, in quotes",
    "bool_type": "must be true or false, without quotes",
}


def validated(model: type[Model], values: dict[str, object], where: str) -> Model:
    """Build a frozen model from TOML values; the first problem, or all that is missing, becomes one sentence."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise InputError(_sentence(model, error, where)) from error


def _shown(value: object) -> str:
    """Write a value as Python does, and truth as TOML; of one that is long or deep a part."""
    if isinstance(value, bool):
        return str(value).lower()
    writer = reprlib.Repr()
    writer.maxstring = writer.maxother = MOST_SIGNS
    return writer.repr(value)


def _sentence(model: type[BaseModel], error: ValidationError, where: str) -> str:
    problem = error.errors()[0]
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        known = _fields_at(model, problem["loc"][:-1])
        return f"{_shown(key)} in {where} is not a setting; {did_you_mean(shortened(str(problem['loc'][-1])), known)}"
    if problem["type"] == "missing":
        return _missing(model, [each["loc"] for each in error.errors() if each["type"] == "missing"], where)
    message = MEANT.get(problem["type"], problem["msg"].removeprefix("Value error, "))
    return f"{shortened(key) or where}: {message}" + (f", found {_shown(problem['input'])} in {where}" if key else "")


def _missing(model: type[BaseModel], places: list[tuple[int | str, ...]], where: str) -> str:
    """Name every key that is missing, with its meaning, so that a file is mended in one go."""
    keys = [".".join(str(part) for part in place) for place in places]
    fields = [_fields_at(model, place[:-1]).get(str(place[-1])) for place in places]  # a key of people's own has none
    told = [(key, field.description) for key, field in zip(keys, fields, strict=True) if field and field.description]
    verb, them = ("is", "it") if len(keys) == 1 else ("are", "them")
    said = f" ({'; '.join(': '.join(each) for each in told)})" if told else ""
    return f"{', '.join(map(_shown, keys))} {verb} missing in {where}; add {them}{said}"


def _fields_at(model: type[BaseModel], path: tuple[int | str, ...]) -> dict[str, FieldInfo]:
    for part in path:
        annotation = model.model_fields[str(part)].annotation if str(part) in model.model_fields else None
        annotation = get_args(annotation)[1] if get_origin(annotation) is dict else annotation  # a table each
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            model = annotation
    return model.model_fields
