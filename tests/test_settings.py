"""Settings: what an operator may write, and the one sentence that a mistake gives."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import BaseModel, ValidationError

from configs.errors import InputError
from configs.named_files import FOLDER, read_toml
from configs.settings import DATA_DIR_VARIABLE, Settings, load_settings


def profile(folder: Path, text: str) -> str:
    path = folder / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_a_profile_is_laid_over_the_defaults_key_by_key(tmp_path):
    settings = load_settings(profile(tmp_path, "[churn]\nhorizon_days = 7"))
    assert (settings.churn.horizon_days, settings.churn.lookback_days) == (7, load_settings().churn.lookback_days)
    assert settings.profile == "mine"


@pytest.mark.parametrize("path", sorted((FOLDER / "profiles").glob("*.toml")), ids=lambda path: path.stem)
def test_every_shipped_profile_is_valid(path):
    assert load_settings(path.stem).profile == path.stem


def test_settings_cannot_be_changed_after_they_were_read():
    with pytest.raises(ValidationError):
        load_settings().churn.horizon_days = 1


def test_every_setting_is_described():
    def undescribed(model: type[BaseModel]) -> list[str]:
        sections = [field.annotation for field in model.model_fields.values() if _is_section(field.annotation)]
        own = [name for name, field in model.model_fields.items() if not field.description]
        return [name for name in own if not _is_section(model.model_fields[name].annotation)] + [
            name for section in sections for name in undescribed(section)
        ]

    assert undescribed(Settings) == []


def _is_section(annotation: object) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def test_data_dir_comes_from_the_call_then_the_environment_then_the_profile(tmp_path, monkeypatch):
    mine = profile(tmp_path, f'data_dir = "{tmp_path}/from_profile"')
    assert load_settings(mine).data_dir == tmp_path / "from_profile"
    monkeypatch.setenv(DATA_DIR_VARIABLE, str(tmp_path / "from_environment"))
    assert load_settings(mine).data_dir == tmp_path / "from_environment"
    assert load_settings(mine, data_dir=tmp_path / "given").data_dir == tmp_path / "given"


def test_a_relative_data_dir_becomes_absolute():
    assert load_settings(data_dir=Path("some/where")).data_dir == Path.cwd() / "some/where"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[churn]\nhorizont_days = 7", "'churn.horizont_days' in .*mine.toml is not a setting; did you mean 'horizon_"),
        ("[chrun]\nhorizon_days = 7", "'chrun' in .*mine.toml is not a setting; did you mean 'churn'?"),
        ("[churn]\nhorizon_days = 0", "churn.horizon_days: .*greater than 0, found 0 in .*mine.toml"),
        ('[churn]\nhorizon_days = "soon"', "churn.horizon_days: .*integer.*, found 'soon' in .*mine.toml"),
        ("[scoring]\ncontrol_share = true", "scoring.control_share: must be a number, .*, found true in .*mine.toml"),
        ("[churn]\nhorizon_days = true", "churn.horizon_days: must be a whole number .*, found true in .*mine.toml"),
        ("[churn]\nhorizon_days = 7.0", "churn.horizon_days: must be a whole number .*, found 7.0 in .*mine.toml"),
        ("[scoring]\nbudget = '5'", "scoring.budget: must be a number, without quotes, found '5' in .*mine.toml"),
        ("[contact]\noffers_overlap = 1", "contact.offers_overlap: must be true or false, .*, found 1 in .*mine.toml"),
        ("[contact.min_ages]\nwine = true", "contact.min_ages.wine: must be a whole number .*, found true"),
        ("[contact.channel_caps]\nsms = {in_7_days = true}", "in_7_days: must be a whole number .*, found true"),
        ("data_dir = true", "data_dir: .*path.*, found true in .*mine.toml"),
        ("churn = 3", "churn: .*, found 3 in .*mine.toml"),
        ("[value]\ngross_margin = 1.5", "value.gross_margin: .*less than or equal to 1, found 1.5"),
        ('time_zone = "Mars/Base"', "time_zone: no IANA time zone has this name.*, found 'Mars/Base'"),
        ('[schedule]\ntime_zone = "Mars/Base"', "schedule.time_zone: no IANA time zone has this name"),
        ("[scoring]\nmedium_risk = 0.9", "scoring.medium_risk = 0.9 exceeds scoring.high_risk = 0.5; lower it"),
        ("[churn\nhorizon_days = 7", "mine.toml is not valid TOML .*line 1.*; mend that place"),
        ("seed = 1\nseed = 2", "mine.toml is not valid TOML .*overwrite"),
        ("threads = " + "9" * 5000, "mine.toml is not valid TOML .*4300 digits"),
        ("as_of = 2024-02-31", "mine.toml is not valid TOML"),
        ("x = " + "[" * 100_000, "mine.toml nests lists or tables deeper than any setting"),
        ("x = " + "{a = " * 100_000, "mine.toml nests lists or tables deeper than any setting"),
        ("[" + "a." * 100_000 + "a]", "mine.toml nests tables deeper than any setting .'a.a.*; mend that place"),
        ("'churn.horizon_days' = 7", "'churn.horizon_days' in .* is not a setting"),
        ("k" * 1000 + " = 1", "^.{,600}$"),
        ("seed = '" + "9" * 1000 + "'", "^seed: .{,300}$"),
        ("[scoring]\nbudget = inf", "scoring.budget: .*finite number, found inf"),
        ("[scoring]\nbudget = nan", "scoring.budget: .*finite number, found nan"),
        ("[scoring]\nbudget = -1", "scoring.budget: .*greater than or equal to 0, found -1"),
        ("[scoring]\nbudget = 1e300", "scoring.budget: .*less than or equal to"),
        ("[training]\nlearning_rate = nan", "training.learning_rate: .*finite number"),
        ("[send_time]\nhalf_life_days = 1e-320", "send_time.half_life_days: .*greater than or equal to 0.1"),
        ("threads = 1_000_000", "threads: .*less than or equal to 1024"),
        ("seed = 99999999999999999999", "seed: .*less than"),
        ("as_of = 0001-01-01", "as_of: .*1990-01-02"),
        ("as_of = 9999-12-31", "as_of: .*2200-01-01"),
        ("[roles]\nactivity = []", "roles.activity: names no event, so that nobody can be seen to stay or to leave"),
        ('[roles]\nvalue = ["buy\\u0000"]', "roles.value.0: a name begins and ends with a sign that can be seen"),
        ('[roles]\nvalue = ["\\u200b"]', "roles.value.0: a name begins and ends with a sign that can be seen"),
        ('currency = "   "', "currency: "),
        ('[categories]\nalso_sensitive = [""]', "categories.also_sensitive.0: a name begins and ends with a sign"),
    ],
)
def test_a_mistake_in_a_profile_gives_one_sentence(tmp_path, text, sentence):
    with pytest.raises(InputError, match=sentence):
        load_settings(profile(tmp_path, text))


def test_a_whole_number_may_stand_for_any(tmp_path):
    assert load_settings(profile(tmp_path, "[scoring]\nbudget = 5\ncontrol_share = 1")).scoring.budget == 5.0


def test_a_profile_of_a_hundred_megabytes_is_refused_unread(tmp_path):
    with Path(profile(tmp_path, "")).open("wb") as file:
        file.truncate(100_000_000)
    with pytest.raises(InputError, match=r"mine.toml is larger than 4,000,000 bytes, which no configuration is"):
        load_settings(str(tmp_path / "mine.toml"))


def test_a_byte_order_mark_is_no_part_of_a_profile(tmp_path):
    assert load_settings(profile(tmp_path, "\ufeffseed = 3")).seed == 3


def test_a_name_is_written_as_ids_are(tmp_path):
    assert load_settings(profile(tmp_path, '[roles]\nvalue = ["cafe\u0301"]')).roles.value == ("caf\u00e9",)


def test_a_profile_that_is_not_text_is_refused(tmp_path):
    (tmp_path / "mine.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"mine\.toml is not valid TOML"):
        load_settings(str(tmp_path / "mine.toml"))


def test_a_file_that_cannot_be_opened_is_named(tmp_path):
    with pytest.raises(InputError, match=r"cannot be read \(Is a directory\); check the path and its permissions"):
        read_toml(tmp_path)


def test_a_missing_key_is_named(monkeypatch):
    defaults = load_settings().model_dump()
    del defaults["churn"]["horizon_days"]
    monkeypatch.setattr("configs.settings.read_toml", lambda path: defaults)
    with pytest.raises(InputError, match=r"'churn\.horizon_days' is missing in the defaults; add it"):
        load_settings()


def test_an_unknown_profile_name_suggests_the_nearest():
    with pytest.raises(InputError, match=r"profile 'online_retial' was not found .* did you mean 'online_retail'\?"):
        load_settings("online_retial")


def test_a_file_is_parsed_once_and_every_reader_has_its_own_values(tmp_path, monkeypatch):
    path, texts = tmp_path / "own.toml", []
    path.write_text("[once]\nnames = []\n", encoding="utf-8")
    monkeypatch.setattr("tomllib.loads", lambda text: texts.append(text) or {"names": [text]})
    first, second = read_toml(path), read_toml(path)
    first["names"].clear()
    assert second == read_toml(path) != first
    assert len(texts) == 1
    path.write_text("[twice]\nnames = []\n", encoding="utf-8")
    assert read_toml(path) != second
