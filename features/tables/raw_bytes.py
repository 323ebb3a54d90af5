"""Reading of files as raw bytes, for searches through everything."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from configs.errors import InputError
from features.publishing.manifest import paths_like

AT_ONCE = 4 * 2**20  # bytes


def content_of(path: Path) -> bytes:
    """Read a file whole; nothing where it has gone meanwhile."""
    return path.read_bytes() if path.is_file() else b""


def text_of(path: Path, what: str) -> str:
    """Read a text file of the operator's.

    Parameters
    ----------
    what
        What it should hold, for people: ``a text file with ...``.

    Raises
    ------
    InputError
        It is not there, is a folder, cannot be read, or holds no text.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"there is no file {path}; give {what}") from None
    except IsADirectoryError:
        raise InputError(f"{path} is a folder; give {what}") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); give {what}") from error
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise InputError(f"{path} holds no text in UTF-8; give {what}")
    return text


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
    found = paths_like(folder, "**/*")
    return sorted(path.relative_to(folder).as_posix() for path in found if path.is_file())
