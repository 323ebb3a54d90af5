"""The line of a text in its file, for error messages."""

from __future__ import annotations

from pathlib import Path

from configs.toml_lines import key_line


def part_line(path: Path, offer_id: str, number: int, part: str, line: int = 1) -> str:
    """Name file and line of a part of an offer's text, of its own (0) or of the `number`-th other one.

    `line` is counted within the part, which may stand on several lines.
    """
    return _placed(path, (offer_id, "texts") if number else (offer_id,), number, part, line)


def variant_line(path: Path, play: str, number: int, part: str, line: int = 1) -> str:
    """Name file and line of a part of what the `number`-th variant of a play's experiment says."""
    return _placed(path, (play, "experiment", "variants"), number, part, line)


def _placed(path: Path, table: tuple[str, ...], number: int, part: str, line: int) -> str:
    return f"{path}, line {key_line(path.read_text(encoding='utf-8-sig'), table, part, number) + line - 1}"
