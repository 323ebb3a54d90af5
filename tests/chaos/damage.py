"""Stored files of every kind, and what happens to them: cut short, emptied, one bit flipped, another file in place."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

PARTS = (  # of names, that differ between files of one kind
    (re.compile(r"day=\d{4}-\d\d-\d\d"), "day=*"),
    (re.compile(r"\d{4}-\d\d-\d\d"), "*"),
    (re.compile(r"\d{8}T\d{6}Z"), "*"),
    (re.compile(r"(m-)?[0-9a-f]{32}"), "*"),
    (re.compile(r"folds/\d"), "folds/*"),
    (re.compile(r"\d{5}-\d{3}"), "*"),
)
# Feast's online store is made empty and never read; on records of runs nothing rests
LEFT_OUT = re.compile(
    r"(^|/)(\.lock|prefect/.*|runs/.*|feast/online\.db|conda\.yaml|python_env\.yaml|requirements\.txt)$"
)


def kinds_of_files(data: Path) -> dict[str, list[str]]:
    """Map each kind of stored file to the files of that kind, the newest last."""
    kinds: dict[str, list[str]] = {}
    for path in sorted(data.rglob("*")):
        name = path.relative_to(data).as_posix()
        if path.is_file() and not LEFT_OUT.search(name):
            kind = name
            for part, sign in PARTS:
                kind = part.sub(sign, kind)
            kinds.setdefault(kind, []).append(name)
    return kinds


def _cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def _flipped(content: bytes) -> bytes:
    place = len(content) * 2 // 5
    return content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :] if content else b"\1"


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "cut": _cut,
    "emptied": lambda _: b"",
    "flipped": _flipped,
    "replaced": lambda content: b"null\n" if content[:4] != b"PAR1" else content,  # Parquet by that of another day
}


def damaged(data: Path, name: str, way: str) -> bytes:
    """Damage a file, in a file of its own: the clean state keeps the other; returns what it holds now."""
    path = data / name
    content = DAMAGES[way](path.read_bytes())
    if way == "replaced" and name.endswith(".parquet"):
        content = _another(data, name).read_bytes()
    path.unlink()
    path.write_bytes(content)
    return content


def _another(data: Path, name: str) -> Path:
    """Find another file of the same table, or of any other, that holds something else."""
    own, places = (data / name).read_bytes(), (data.rglob(Path(name).name), data.rglob("*.parquet"))
    others = (path for found in places for path in sorted(found) if path.is_file())
    return next(path for path in others if path.suffix == ".parquet" and path.read_bytes() != own)
