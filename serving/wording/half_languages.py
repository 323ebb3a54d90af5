"""How complete each language is; missing texts are shown in English."""

from __future__ import annotations

from configs.named_files import FOLDER, known_names, named_file, read_toml
from configs.settings import Settings
from serving.wording.language_file import ENGLISH, Language, load_language

OWN = ("labels", "groups", "meanings", "pages")  # what English says where it is needed, and not in its file


def language_notes(settings: Settings) -> list[str]:
    """Say in one sentence how much the language of the settings leaves to English; nothing where it says all."""
    path = named_file(settings.language, FOLDER / "languages", ".toml", "language")
    if path == FOLDER / "languages" / f"{ENGLISH}.toml":
        return []
    wanted, said = _names(load_language(ENGLISH), all_languages()), set(_said(read_toml(path)))
    left = [name for name in wanted if name not in said]
    if not left:
        return []
    return [
        f"language {settings.language} says {len(wanted) - len(left):,} of {len(wanted):,} texts and the others in "
        f"English, the first of them {left[0].partition('{')[0].strip()!r}; add them to {path.name}"
    ]


def all_languages() -> list[Language]:
    """Read every language that comes with winback."""
    return [load_language(name) for name in known_names(FOLDER / "languages", ".toml")]


def _names(english: Language, languages: list[Language]) -> list[str]:
    """List what a language may say: all of the English file, and what another one says beside it."""
    others = [f"{section}.{code}" for each in languages for section in OWN for code in getattr(each, section)]
    return [*dict.fromkeys([*_said(english.model_dump()), *others])]


def _said(tables: dict[str, object]) -> list[str]:
    return [f"{section}.{code}" for section, codes in tables.items() if isinstance(codes, dict) for code in codes]
