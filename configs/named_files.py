"""Files of the configuration: found by their bare name in a folder here, or by their path."""

from __future__ import annotations

import tomllib
from pathlib import Path

from configs.errors import InputError, did_you_mean

FOLDER = Path(__file__).parent


def named_file(name: str, folder: Path, suffix: str, kind: str) -> Path:
    """Find a configuration file by its bare name in `folder`, or by its path.

    Raises
    ------
    InputError
        Neither exists; the sentence lists the known names.
    """
    for path in (folder / f"{name}{suffix}", Path(name)):
        if path.is_file():
            return path
    known = [path.stem for path in folder.glob(f"*{suffix}")]
    raise InputError(f"{kind} {name!r} was not found as a name or a path; {did_you_mean(name, known)}")


def read_toml(path: Path) -> dict[str, object]:
    """Read one TOML file; a syntax error names the file and the place."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); check the path and its permissions") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not valid TOML ({error}); mend that place") from error
