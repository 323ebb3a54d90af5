"""Files as bytes, whatever they hold: for those who look through all of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

AT_ONCE = 4 * 2**20  # bytes


def content_of(path: Path) -> bytes:
    """Read a file whole; nothing where it has gone meanwhile."""
    return path.read_bytes() if path.is_file() else b""


def pieces_of(path: Path, overlap: int) -> Iterator[bytes]:
    """Read a file piece by piece, each with the last bytes of the one before."""
    rest = b""
    with path.open("rb") as file:
        while piece := file.read(AT_ONCE):
            yield rest + piece
            rest = piece[-overlap:]


def begins_with(path: Path, signs: bytes) -> bool:
    """Tell whether a file begins with some bytes."""
    with path.open("rb") as file:
        return file.read(len(signs)) == signs


def files_below(folder: Path) -> list[str]:
    """Name all files of a folder, relative to it, in order."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
