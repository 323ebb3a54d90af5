"""The profile of a data folder: stored in it at the first run, and used by all later ones."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from functools import partial, reduce
from pathlib import Path

from configs.errors import InputError
from configs.profile_layers import (
    NAMED,
    RAW,
    SHIPPED,
    Layer,
    by_full_name,
    changed_text,
    laid_over,
    profile_files,
    read_layer,
    text_at,
)
from configs.settings import MACHINES, Settings, is_about_machines, load_settings
from features.publishing.recovery import recovery_hint
from features.storage.lake import Lake
from features.storage.whole_writes import content_hash

PROFILE_FILE, COPIES = "profile.json", "profile"
OLDER_FILE = "profile.txt"  # by which an older winback kept the name of a profile, and nothing else
CUSTOM = "features.custom."
DAILY = "winback build-features computes daily rows and snapshots anew"
MODELS = "winback train-models learns by it"
# what a setting that changed is followed by; of two that fit the longer counts
FOLLOWED_BY = {
    "roles.": DAILY,
    CUSTOM: DAILY,
    "features.": "winback build-features takes snapshots by it",
    "churn.": MODELS,
    "value.": MODELS,
    "response.": MODELS,
    "training.": MODELS,
    "seed": MODELS,
    "ingest.": "winback ingest reads by it",
    "": "winback score-users decides by it",
}


@dataclass(frozen=True)
class KeptProfile:
    """A profile as it was when the data folder was filled.

    `files` names its files, the lowest first: those we ship by name, those in the data folder by their place there, all
    else by path. `hashes` are those of their contents, `layer` is what they said together, with absolute paths, and
    `copies` are files of the data folder that stand in for those of `layer` that are gone. `built` are the settings by
    which daily rows were computed since, by their names; empty where that is no news.
    """

    name: str
    files: list[str]
    hashes: list[str]
    layer: Layer
    copies: dict[str, str] = field(default_factory=dict)
    built: dict[str, object] = field(default_factory=dict)


def remember_profile(lake: Lake, profile: str | None) -> None:
    """Keep a profile in the data folder, with copies of the files that it names.

    That of before is kept anew for None, and for a profile that is about machines alone.
    """
    kept = kept_profile(lake)
    if profile is None or is_about_machines(profile):
        profile = _originals(lake, kept) if kept is not None else None
    if profile is None:
        return
    files = profile_files(profile)
    name: Layer = {"profile": files[0].stem}
    layer = reduce(laid_over, (read_layer(path) for path in files), name)
    settings = load_settings(profile, lake.root)
    layer = laid_over(layer, {"ingest": {"raw": settings.ingest.raw}})  # where no file says so, it is beside them
    copies, contents = {}, {}
    for keys, (_, suffix) in NAMED.items():
        path = Path(text_at(layer, keys) or "")
        if path.is_absolute() and path.is_file():
            copies[keys[-1]] = f"{COPIES}/{keys[-1]}{suffix}"
            contents[copies[keys[-1]]] = path.read_bytes()
    names, hashes = [_place(lake, path) for path in files], [content_hash(path) for path in files]
    for keys in (*NAMED, RAW):
        layer = changed_text(layer, keys, lambda name: _place(lake, Path(name)) if Path(name).is_absolute() else name)
    found = KeptProfile(files[0].stem, names, hashes, layer, copies)
    contents[PROFILE_FILE] = json.dumps(asdict(found), default=str, indent=1).encode()
    with lake.files.publish() as publication:
        for place, content in contents.items():
            publication.write(place, content)


def remember_built(lake: Lake, settings: Settings) -> None:
    """Keep the settings by which daily rows are computed by now, so that nobody is told to compute them anew."""
    kept, built = kept_profile(lake), _of_daily_rows(_flat(settings))
    if kept is None or built == _of_daily_rows(_before(lake, kept)):
        return
    with lake.files.publish() as publication:
        content = json.dumps(asdict(replace(kept, built=built)), default=str, indent=1)
        publication.write(PROFILE_FILE, content.encode())


def _of_daily_rows(values: dict[str, object]) -> dict[str, object]:
    return {key: value for key, value in values.items() if _followed_by(key) == DAILY}


def _before(lake: Lake, kept: KeptProfile) -> dict[str, object]:
    """Flatten the settings by which the data folder was filled, and its daily rows were computed since."""
    filled = _flat(load_settings(None, lake.root, _layer_now(lake, kept)))
    if not kept.built:
        return filled
    return {key: value for key, value in filled.items() if _followed_by(key) != DAILY} | kept.built


def kept_profile(lake: Lake) -> KeptProfile | None:
    """Read the profile that a data folder was filled with; None where there is none.

    Raises
    ------
    InputError
        It cannot be read.
    """
    if not lake.files.exists(PROFILE_FILE):
        return None
    text = lake.files.read(PROFILE_FILE)
    try:
        return KeptProfile(**json.loads(text))
    except (ValueError, TypeError) as error:
        raise InputError(
            f"{lake.path(PROFILE_FILE)} cannot be read ({error}); {recovery_hint(PROFILE_FILE)}"
        ) from error


def settings_of(profile: str | None, data_dir: Path | None) -> Settings:
    """Find the settings of a run: those of a profile, else of the one that the data folder was filled with.

    A profile that is about machines alone is laid over the data folder's own. Where the files of that are gone, what
    is kept of them counts.

    Raises
    ------
    InputError
        The data folder holds another app's data, or an older winback filled it, and no profile is named.
    """
    asked = load_settings(profile, data_dir)
    lake = Lake(asked.data_dir)
    return _settings_of(profile, asked, lake).model_copy(update={"stores": lake.stores})


def _settings_of(profile: str | None, asked: Settings, lake: Lake) -> Settings:
    kept = kept_profile(lake)
    if kept is None and lake.files.exists(OLDER_FILE) and (not profile or is_about_machines(profile)):
        name = lake.files.read(OLDER_FILE).decode(errors="replace").strip()
        raise InputError(f"{lake.root} was filled by an older winback, with profile {name!r}; {anew(lake, name)}")
    if kept is None:
        if not profile:
            lake.files.check(PROFILE_FILE)  # one that is gone is not the same as none
        return asked
    if profile and not is_about_machines(profile):
        _require_same_app(lake, kept, profile, asked)
        return asked
    originals = _originals(lake, kept)
    names = [name for name in (originals, profile) if name]
    return load_settings(",".join(names) or None, lake.root, None if originals else _layer_now(lake, kept))


def anew(lake: Lake, profile: str | None) -> str:
    """Say how a data folder of an older winback becomes one of this."""
    named = f" --profile {profile}" if profile else ""
    return f"run winback ingest --replace{named} --data-dir {lake.root} once, then the other steps"


def changed_settings(lake: Lake, settings: Settings) -> list[str]:
    """Say of every setting that is another one than when the data folder was filled what follows from that.

    A column of the app's own is one line, whatever changed of it.
    """
    kept = kept_profile(lake)
    if kept is None:
        return []
    before, now = _before(lake, kept), _flat(settings)
    changed = [key for key in sorted(before | now) if before.get(key) != now.get(key)]
    columns = dict.fromkeys(f"{CUSTOM}{key.split('.')[2]}" for key in changed if key.startswith(CUSTOM))
    return [
        *(f"{name} {_is_other(name, before, now)} since the data folder was filled: {DAILY}" for name in columns),
        *(
            f"{key} was {_said(before, key)} when the data folder was filled and is {_said(now, key)}: "
            f"{_followed_by(key)}"
            for key in changed
            if not key.startswith(CUSTOM)
        ),
    ]


def _is_other(name: str, before: dict[str, object], now: dict[str, object]) -> str:
    was, there = (any(key.startswith(f"{name}.") for key in each) for each in (before, now))
    return "changed" if was and there else "came" if there else "went"


def of_this_run(lake: Lake, profile: str | None) -> list[str]:
    """Say of a profile that the data folder does not keep that later runs go by another one; nothing of others."""
    kept = kept_profile(lake)
    if profile is None or kept is None or is_about_machines(profile):
        return []
    both = [_place(lake, path) for path in profile_files(profile)], kept.files
    given, remembered = ([name for name in names if not _is_about_machines(lake, name)] for names in both)
    if given == remembered:
        return []
    return [
        f"--profile {profile} holds for this run alone, later ones go by {','.join(kept.files)}; to keep it run "
        f"winback ingest --profile {profile}"
    ]


def _said(values: dict[str, object], key: str) -> str:
    return "unset" if values.get(key) is None else repr(values[key])


def _followed_by(key: str) -> str:
    return FOLLOWED_BY[max((prefix for prefix in FOLLOWED_BY if key.startswith(prefix)), key=len)]


def _flat(settings: Settings) -> dict[str, object]:
    return by_full_name(settings.model_dump(mode="json", exclude=MACHINES | {"profile", "time_zone"}))


def _require_same_app(lake: Lake, kept: KeptProfile, profile: str, settings: Settings) -> None:
    """Refuse a profile that is neither the kept one, nor says the same, nor reads the same source and raw files."""
    own = [path for path in profile_files(profile) if not is_about_machines(str(path))]
    known = [pair for pair in zip(kept.files, kept.hashes, strict=True) if not _is_about_machines(lake, pair[0])]
    if [_place(lake, path) for path in own] == [name for name, _ in known]:
        return
    if [content_hash(path) for path in own] == [digest for _, digest in known]:
        return
    before, now = load_settings(None, lake.root, _layer_now(lake, kept)).ingest, settings.ingest
    for name, was, is_now in (("source", before.source, now.source), ("raw", before.raw, now.raw)):
        if was != is_now:
            raise InputError(
                f"{lake.root} holds the data of profile {kept.name!r} ({','.join(kept.files)}), not of {profile!r}, "
                f"which is another file with another ingest.{name}, {is_now!r} and not {was!r}; choose another "
                f"--data-dir, or, if it is the same app, write ingest.{name} in the file"
            )


def _is_about_machines(lake: Lake, name: str) -> bool:
    path = _path(lake, name)
    return path is not None and is_about_machines(path)


def _originals(lake: Lake, kept: KeptProfile) -> str | None:
    """Name the files of a kept profile, None where one is gone."""
    paths = [_path(lake, name) for name in kept.files]
    return None if None in paths else ",".join(path for path in paths if path)


def _path(lake: Lake, name: str) -> str | None:
    if lake.files.exists(name):
        return str(lake.path(name))
    return name if Path(name).is_file() or (SHIPPED / f"{name}.toml").is_file() else None


def _place(lake: Lake, path: Path) -> str:
    """Name a file so that it is found from everywhere, also after the data folder was moved with it inside."""
    if path.parent == SHIPPED:
        return path.stem
    place = path.absolute()
    ways = ((place, lake.root), (place.resolve(), lake.root.resolve()))  # of links, too
    return next((str(each.relative_to(root)) for each, root in ways if each.is_relative_to(root)), str(place))


def _layer_now(lake: Lake, kept: KeptProfile) -> Layer:
    """Find what a kept profile said, with its paths as they are by now."""

    def found(copy: str | None, name: str) -> str:
        if lake.files.exists(name) or (copy and lake.files.exists(copy) and not Path(name).is_file()):
            kept = name if lake.files.exists(name) else str(copy)
            lake.files.check(kept)
            return str(lake.path(kept))
        return name

    layer = kept.layer
    for keys in NAMED:
        if Path(text_at(layer, keys) or "").suffix:
            layer = changed_text(layer, keys, partial(found, kept.copies.get(keys[-1])))
    return layer
