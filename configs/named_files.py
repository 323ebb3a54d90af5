"""Configuration files, found by their name in a folder of this package or by a path."""

from __future__ import annotations

import re
import tomllib
from copy import deepcopy
from functools import lru_cache
from pathlib import Path

from configs.errors import InputError, did_you_mean, shortened

FOLDER = Path(__file__).parent
MOST_BYTES = 4_000_000
# keys that go down further than any setting: reading them takes the square of their length
DEEP = re.compile(r"""(?:(?:[\w-]+|"[^"\n]*"|'[^'\n]*')[ \t]*\.[ \t]*){32}""")


def is_file(path: Path) -> bool:
    """Tell whether there is such a file; there is none of a name that no file can have."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def known_names(folder: Path, suffix: str) -> list[str]:
    """List the bare names of the configuration files of a folder, sorted."""
    return sorted(path.stem for path in folder.glob(f"*{suffix}"))


def named_file(name: str, folder: Path, suffix: str, kind: str) -> Path:
    """Find a configuration file by its bare name in `folder`, or by its path.

    Raises
    ------
    InputError
        Neither exists; the sentence lists the known names.
    """
    for path in (folder / f"{name}{suffix}", Path(name)):
        if is_file(path):
            return path
    near = did_you_mean(shortened(name), known_names(folder, suffix))
    raise InputError(f"{kind} {shortened(name)!r} was not found as a name or a path; {near}")


def read_toml(path: Path) -> dict[str, object]:
    """Read one TOML file.

    Raises
    ------
    InputError
        It cannot be read, is larger or deeper than any configuration, or no TOML; the sentence names the place.
    """
    try:
        if path.stat().st_size > MOST_BYTES:
            raise InputError(
                f"{path} is larger than {MOST_BYTES:,} bytes, which no configuration is; name another file"
            )
        text = path.read_text(encoding="utf-8-sig")
        if place := _deep_place(text):
            raise InputError(f"{path} nests tables deeper than any setting ({place[:40]!r} …); mend that place")
        return deepcopy(_parsed(text))
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); check the path and its permissions") from error
    except RecursionError as error:
        raise InputError(f"{path} nests lists or tables deeper than any setting; mend it") from error
    except InputError:
        raise
    except ValueError as error:  # of TOML, of the encoding, and of numbers and days that Python cannot hold
        raise InputError(f"{path} is not valid TOML ({error}); mend that place") from error


@lru_cache(64)
def _deep_place(text: str) -> str:
    found = DEEP.search(text)
    return found[0] if found else ""


@lru_cache(64)
def _parsed(text: str) -> dict[str, object]:
    """Read TOML once a process, as a command asks for the same files again and again; what is read is nobody's own."""
    return tomllib.loads(text)
