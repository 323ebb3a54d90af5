"""Profiles as layers: files laid over each other, each with the paths in it made absolute."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from configs.named_files import FOLDER, is_file, named_file, read_toml

Layer = dict[str, object]
SHIPPED = FOLDER / "profiles"
# settings that name a file: the folder of those we ship, and their suffix
NAMED = {
    ("offers",): ("offers", ".toml"),
    ("language",): ("languages", ".toml"),
    ("ingest", "source"): ("sources", ".sql"),
    ("segments", "stages"): ("stages", ".toml"),
    ("segments", "files"): ("segments", ".toml"),
}
RAW, ALSO_READS = ("ingest", "raw"), ("ingest", "also_reads")
IN_PACKAGE, NO_CATALOGUE = "package:", "none"


def profile_files(profile: str | None) -> list[Path]:
    """Find the files of a profile, the lowest first."""
    names = profile.split(",") if profile is not None else []
    return [named_file(name, FOLDER / "profiles", ".toml", "profile") for name in names]


def read_layer(path: Path) -> Layer:
    """Read a profile's file; a relative path in it is relative to its folder, so that it can be read from anywhere."""
    layer, beside = read_toml(path), path.absolute().parent
    for keys, (shipped, suffix) in NAMED.items():
        layer = changed_text(layer, keys, partial(_file_beside, beside, FOLDER / shipped, suffix))
    for keys in (RAW, ALSO_READS, ("data_dir",)):
        layer = changed_text(layer, keys, partial(_path_beside, beside))
    return layer


def with_raw_beside(layers: Layer, files: Sequence[Path]) -> Layer:
    """Look for raw files where no profile says so in the folder of the first that is the app's own."""
    own = [path.absolute().parent for path in files if path.parent != SHIPPED]
    return changed_text(layers, RAW, partial(_path_beside, own[0])) if own else layers


def laid_over(base: Layer, top: Layer) -> Layer:
    """Lay one layer over another, key by key.

    Examples
    --------
    >>> laid_over({"churn": {"horizon_days": 28, "lookback_days": 91}}, {"churn": {"horizon_days": 7}})
    {'churn': {'horizon_days': 7, 'lookback_days': 91}}
    """
    merged = dict(base)
    for key, value in top.items():
        below = merged.get(key)
        merged[key] = laid_over(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


def by_full_name(layer: Layer, prefix: str = "") -> Layer:
    """Name every setting of a layer in full.

    Examples
    --------
    >>> by_full_name({"churn": {"kind": "silence"}, "time_zone": "UTC"})
    {'churn.kind': 'silence', 'time_zone': 'UTC'}
    """
    named: Layer = {}
    for name, value in layer.items():
        named |= by_full_name(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return named


def changed_text(layer: Layer, keys: tuple[str, ...], change: Callable[[str], str]) -> Layer:
    """Change one text of a layer, or each of a list, if it holds it.

    Examples
    --------
    >>> changed_text({"ingest": {"raw": "exports"}}, ("ingest", "raw"), str.upper)
    {'ingest': {'raw': 'EXPORTS'}}
    """
    held = layer.get(keys[0])
    if len(keys) > 1:
        return {**layer, keys[0]: changed_text(held, keys[1:], change)} if isinstance(held, dict) else layer
    if isinstance(held, list):
        return {**layer, keys[0]: [change(each) if isinstance(each, str) else each for each in held]}
    return {**layer, keys[0]: change(held)} if isinstance(held, str) else layer


def text_at(layer: Layer, keys: tuple[str, ...]) -> str | None:
    """Read one text of a layer, None where it holds none."""
    found: object = layer
    for key in keys:
        found = found.get(key) if isinstance(found, dict) else None
    return found if isinstance(found, str) else None


def _file_beside(folder: Path, shipped: Path, suffix: str, name: str) -> str:
    if is_file(shipped / f"{name}{suffix}") or name == NO_CATALOGUE:
        return name
    found = [path for path in (folder / name, folder / f"{name}{suffix}") if is_file(path)]
    return str(found[0]) if found else _path_beside(folder, name) if Path(name).suffix == suffix else name


def _path_beside(folder: Path, name: str) -> str:
    return name if name.startswith(IN_PACKAGE) else os.path.normpath(folder / name)
