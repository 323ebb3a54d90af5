"""The language of segments: what a rule may say, what it comes to, and the sentence for everything else."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from typer.testing import CliRunner

from configs.errors import InputError
from configs.segment_files import load_segments, load_stages
from configs.settings import Settings, load_settings
from features.definitions.app_declarations import declarations_of
from features.definitions.registry import trait
from flows.cli import app
from serving.segments.definitions import Definitions, definitions_of
from serving.segments.language import Place, Vocabulary, checked, compiled, parsed
from serving.segments.stages import stages_of

FEATURES = [*declarations_of(load_settings()).catalogue(), trait("country", is_text=True)]
WORDS = Vocabulary({"a": "number", "b": "number", "is_open": "flag", "country": "text"}, {"horizon": 28})
HERE = Place("segment 'x'", Path("mine.toml"), 7)


def settings_with(tmp_path: Path, segments: str, stages: str | None = None) -> Settings:
    (tmp_path / "mine.toml").write_text(segments, encoding="utf-8")
    own = {"files": (str(tmp_path / "mine.toml"),)}
    if stages is not None:
        (tmp_path / "steps.toml").write_text(stages, encoding="utf-8")
        own |= {"stages": str(tmp_path / "steps.toml")}
    return load_settings(segments=own)


def segment(name: str, when: str, **more: object) -> str:
    own = "".join(f"{key} = {value}\n" for key, value in more.items())
    return f"[{name}]\ntitle = \"T\"\nmeaning = \"m\"\n{own}when = '''{when}'''\n"


def read(tmp_path: Path, segments: str, stages: str | None = None) -> Definitions:
    return definitions_of(settings_with(tmp_path, segments, stages), FEATURES)


def answer(when: str, **values: object) -> object:
    rule = compiled(checked(parsed(when, HERE), WORDS, HERE), WORDS)
    row = {"a": None, "b": None, "is_open": None, "country": None} | values
    columns = ", ".join(f"${name}::{'VARCHAR' if name == 'country' else 'DOUBLE'} AS {name}" for name in row)
    found = duckdb.execute(f"SELECT {rule.sql} FROM (SELECT {columns})", row).fetchone()
    assert found is not None
    return found[0]


@pytest.mark.parametrize(
    ("when", "values", "expected"),
    [
        ("a > 3 AND NOT is_open", {"a": 4, "is_open": 0}, True),
        ("a > 3 AND NOT is_open", {"a": 4, "is_open": 1}, False),
        ("is_open OR a = 1", {"a": 1}, True),
        ("is_open = 1", {"is_open": 1}, True),
        ("a / b > 2", {"a": 4, "b": 0}, None),
        ("a > horizon", {"a": 29}, True),
        ("a BETWEEN -1 AND 2 AND b NOT IN (3, -4)", {"a": 0, "b": 5}, True),
        ("b IS NULL AND a IS NOT NULL", {"a": 0}, True),
        ("country IN ('DE', 'AT') OR lower(country) LIKE 'f%'", {"country": "FR"}, True),
        ("coalesce(a, 5) >= greatest(b, 5) AND abs(-a) IS NULL", {"b": 2}, True),
        ("a - b * 2 + 1 = 0", {"a": 3, "b": 2}, True),
        ("a > 3", {}, None),
    ],
)
def test_a_rule_says_what_it_reads_like(when: str, values: dict[str, object], expected: object) -> None:
    assert answer(when, **values) is expected


@pytest.mark.parametrize(
    ("when", "said"),
    [
        ("spend_summ_28d > 3", "line 4: segment 'x' names 'spend_summ_28d', which there is not; did you mean 'spend_"),
        ("spend_sum_28d > 3\n AND gender = 'f'", "line 5: segment 'x' names 'gender', which there is not"),
        ("readcsv('/etc/passwd') > 1", "line 4: segment 'x' calls 'readcsv', which rules may not"),
        ("read_csv('/etc/passwd') > 1", "line 4: segment 'x' calls"),
        ("quintil(spend_sum_28d) = 1", "did you mean 'quintile'?"),
        ("spend_sum_28d", "needs something true or false where it has 'spend_sum_28d'"),
        ("spend_sum_28d = 'much'", "compare numbers with numbers and texts with texts"),
        ("tenure_days > (SELECT 1)", "which rules may not say"),
        ("tenure_days > 1; DROP TABLE users", "is not one expression"),
        ("tenure_days > ", "is no SQL expression"),
        ("tenure_days > 3 AND\n(tenure_days <", "is no SQL expression"),
        ("tenure_days::VARCHAR = 'a'", "calls 'Cast', which rules may not"),
        ("quantile(spend_sum_28d, 80) > 1", "needs a share between 0 and 1"),
        ("quantile(trait_country, 0.8) > 1", "needs a number where it has 'trait_country'"),
        ("quintile(spend_sum_28d + 1) = 1", "needs a column of numbers in quintile(...)"),
        ("tenure_days IN (SELECT 1)", "may ask by IN for a list"),
        ("users.tenure_days > 1", "names 'users.tenure_days', which there is not"),
        ("", "segment 'x' of"),
        ("x", "names itself in a circle (x -> x)"),
    ],
)  # fmt: skip
def test_what_a_rule_may_not_say_is_one_sentence_with_file_and_line(tmp_path: Path, when: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        read(tmp_path, segment("x", when))
    sentence = str(caught.value)
    assert said in sentence
    assert str(tmp_path / "mine.toml") in sentence
    assert len(sentence.splitlines()) == 1


ATTACKS = (
    "getenv('HOME')", "pragma_version()", "current_setting('threads')", "read_text('/etc/passwd')", "version()",
    "list_value(1)", "a[1]", "struct_pack(x := 1)", "{'a': 1}", "row(1)", "INTERVAL 1 DAY", "CAST(1 AS INT)",
    "CASE WHEN true THEN 1 END", "EXISTS (SELECT 1)", "sum(a) OVER ()", "count(*)", "*", "$1", "?", "NULL",
    "x -> x + 1", "DATE '2020-01-01'", "now()", "random()", "a || 'a'", "regexp_matches('a', 'a')",
    "COLUMNS('.*')", "a COLLATE NOCASE", "(1, 2)", "sleep(1)", "query('SELECT 1')", "ARRAY[1]",
)  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS)
def test_nothing_beside_the_white_list_gets_through(attack: str) -> None:
    for when in (f"{attack} > 1", f"a > {attack}", f"{attack} IS NOT NULL", f"NOT ({attack})"):
        with pytest.raises(InputError, match=r"mine\.toml, line 7: segment 'x' "):
            checked(parsed(when, HERE), WORDS, HERE)


@given(st.text(max_size=60))
@example("@")
@example("abs() > 1")
@example("a >")
def test_whatever_is_written_is_a_rule_or_a_sentence(text: str) -> None:
    try:
        rule = compiled(checked(parsed(text, HERE), WORDS, HERE), WORDS)
    except InputError as error:
        assert "mine.toml, line " in str(error)
    else:
        duckdb.execute(f"SELECT {rule.sql} FROM (SELECT 1.0 AS a, 1.0 AS b, 1.0 AS is_open, 'x' AS country)")


def test_the_command_names_file_and_line_and_writes_nothing(tmp_path: Path) -> None:
    settings_with(tmp_path, segment("x", "spend_summ_28d > 3"))
    (tmp_path / "mine_app.toml").write_text('[segments]\nfiles = ["mine"]\n', encoding="utf-8")
    asked = ["segments", "--check", "--profile", str(tmp_path / "mine_app.toml"), "--data-dir", str(tmp_path / "data")]
    found = CliRunner().invoke(app, asked)
    assert found.exit_code == 2
    assert f"{tmp_path / 'mine.toml'}, line 4: segment 'x' names 'spend_summ_28d'" in found.stderr
    assert not (tmp_path / "data").exists()


def test_a_deep_rule_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="line 4"):
        read(tmp_path, segment("x", "NOT " * 900 + "is_cart_open"))


def test_a_rule_may_name_others_and_an_unknown_answer_is_no(tmp_path: Path) -> None:
    text = segment("far", "NOT near") + segment("near", "tenure_days < 3")
    far, near = read(tmp_path, text).segments
    asked = f"SELECT {far.rule.sql}, {near.rule.sql} FROM (SELECT NULL::DOUBLE AS tenure_days)"
    assert duckdb.execute(asked).fetchone() == (True, None)
    assert [part.text for part in far.rule.parts] == ["tenure_days < 3"]
    assert far.digest != near.digest


def test_rules_that_name_each_other_in_a_circle_are_refused(tmp_path: Path) -> None:
    text = segment("one", "two OR is_cart_open") + segment("two", "three") + segment("three", "NOT one")
    with pytest.raises(
        InputError, match=r"line 4: segment 'one' names itself in a circle \(one -> two -> three -> one"
    ):
        read(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[Bad]\ntitle = 'T'\nmeaning = 'm'\nwhen = 'true'\n", "line 4: 'Bad' cannot name a segment"),
        ("[stage]\ntitle = 'T'\nmeaning = 'm'\nwhen = 'true'\n", "'stage' cannot name a segment"),
        ("[tenure_days]\ntitle = 'T'\nmeaning = 'm'\nwhen = 'true'\n", "bears the name of a column"),
        ("[x]\ntitle = 'T'\nmeaning = 'm'\nwhn = 'true'\n", "did you mean 'when'?"),
        ("[x]\ntitle = 'T'\nmeaning = 'm'\neach = 'tenure_days'\n", "(a text); compare numbers with numbers"),
        ("x = 3\n", "line 1: 'x' is no table"),
    ],
)
def test_what_is_no_segment_is_said_with_its_place(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        read(tmp_path, text)
    assert said in str(caught.value)


STAGE = "[{name}]\ntitle = 'T'\nmeaning = 'm'\nwhen = '{when}'\n"


@pytest.mark.parametrize(
    ("when", "said"),
    [
        ("p_churn > 0.5", "names 'p_churn', which there is not"),
        ("quintile(tenure_days) = 1", "which stages may not"),
        ("tenure_days > 3", 'must have when = "true"'),
    ],
)
def test_stages_rest_on_the_snapshot_alone_and_take_everybody_in(tmp_path: Path, when: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        read(tmp_path, segment("x", "true"), STAGE.format(name="only", when=when))
    assert said in str(caught.value)


def test_a_segment_that_needs_what_the_app_lacks_is_left_out_and_a_later_table_takes_its_place(tmp_path: Path) -> None:
    text = segment("x", "trait_club = 'a'", needs='["trait_club"]') + segment("y", "trait_country = 'DE'")
    found = read(tmp_path, text)
    assert ([each.name for each in found.segments], dict(found.left_out)) == (["y"], {"x": "trait_club"})
    (tmp_path / "own.toml").write_text(segment("heavy_users", "tenure_days > 1"), encoding="utf-8")
    rules = {rule.name: rule for rule in load_segments(["activity", str(tmp_path / "own.toml")])}
    assert rules["heavy_users"].when == "tenure_days > 1"
    assert "light_users" in rules


def test_every_shipped_rule_can_be_asked_of_any_app() -> None:
    found = definitions_of(load_settings(), FEATURES)
    assert len(found.segments) >= 25
    assert [rule.name for rule in found.of_values] == ["country"]
    assert {*found.left_out} == {"device", "language"}
    assert [stage.name for stage in found.stages.listed][:4] == ["new", "activated", "engaged", "loyal"]
    assert len(load_stages("default")) == 9


HERS = {
    "days_since_last_cancellation": None, "days_since_last_activity": 3.0, "tenure_days": 400.0,
    "active_days_count_365d": 60.0, "active_days_count_90d": 20.0, "active_days_count_28d": 6.0,
    "days_since_first_activity": 300.0, "gap_days_mean_365d": 5.0, "gap_days_std_365d": 2.0,
    "active_days_trend_28d": 1.0,
}  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "stage"),
    [
        ({}, "loyal"),
        ({"gap_days_mean_365d": 7.5}, "engaged"),
        ({"tenure_days": 91.0}, "engaged"),
        ({"days_since_last_activity": 9.0}, "loyal"),
        ({"days_since_last_activity": 9.5}, "slipping"),  # usual pause 5, and twice its deviation of 2
        ({"active_days_trend_28d": 0.49}, "slipping"),
        ({"active_days_trend_28d": 0.49, "active_days_count_90d": 3.0}, "loyal"),
        ({"days_since_last_activity": 29.0}, "dormant"),
        ({"days_since_last_activity": 92.0}, "lapsed"),
        ({"days_since_last_activity": None}, "lapsed"),
        ({"tenure_days": 28.0}, "activated"),
        ({"tenure_days": 28.0, "active_days_count_365d": 1.0}, "new"),
        ({"active_days_count_90d": 6.0}, "reactivated"),
        ({"active_days_count_90d": 6.0, "days_since_first_activity": 90.0, "tenure_days": 365.0}, "loyal"),
        ({"days_since_last_cancellation": 3.0}, "left"),
        ({"days_since_last_cancellation": 4.0}, "loyal"),
    ],
)
def test_stages_by_hand(changed: dict[str, float | None], stage: str) -> None:
    frame = pd.DataFrame([HERS | changed], dtype="float64")
    assert stages_of(load_settings()).of(frame).tolist() == [stage]
