"""Guessed types: what DuckDB guesses from the first lines of a file is held against the whole of it."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from configs.errors import InputError
from features.sources.guessed_types import check_guesses, guessing_calls

SAMPLE = 20_480
ZEROS_FIRST = st.from_regex(r"0[0-9]{1,4}", fullmatch=True)
VALUES = st.one_of(st.integers(-(10**6), 10**6).map(str), ZEROS_FIRST, st.decimals(0, 99, places=2).map(str))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("guessed")


@settings(deadline=None, max_examples=8)
@given(st.lists(VALUES, min_size=1, max_size=3), st.sampled_from(["csv", "json"]), st.booleans())
@example(["0042"], "csv", False)
@example(["4.99"], "csv", True)
@example(["4.99"], "json", False)
@example(["1"], "json", True)
def test_a_guess_is_refused_where_it_would_read_wrongly(folder, values, kind, in_another_file):
    """After the sample a value is read as the whole number that it is, or the source is refused."""
    for path in folder.glob("*"):
        path.unlink()
    csv = kind == "csv"
    line = "1,a\n" if csv else '{"n": 1, "w": "a"}\n'
    plain = line * (SAMPLE + 100)
    odd = "".join(f"{value},b\n" if csv else f'{{"n": "{value}", "w": "b"}}\n' for value in values)
    head = "n,w\n" if csv else ""
    if in_another_file:
        for number in range(20):  # DuckDB looks into a few files
            (folder / f"a{number:02d}.{kind}").write_text(head + 10 * line)
        (folder / f"b.{kind}").write_text(head + odd)
    else:
        (folder / f"a.{kind}").write_text(head + plain + odd)
    with duckdb.connect() as connection:
        call = f"read_{kind}('{folder}/*.{kind}')"
        try:
            check_guesses(connection, Path("app.sql"), f"SELECT * FROM {call}")
            read = [str(each) for (each,) in connection.execute(f"SELECT n FROM {call} WHERE w = 'b'").fetchall()]
            assert sorted(map(float, read)) == sorted(map(float, values))
            assert {value for value in values if value[0] == "0" and value[1:].isdigit()} <= {*read}
        except (InputError, duckdb.Error) as error:
            is_mixed = kind == "json" and in_another_file and "keep their quotes" in str(error)
            assert is_mixed or any(value[0] == "0" or "." in value for value in values), error


def test_the_sentence_names_column_rows_and_remedy(folder):
    path = folder / "named.csv"
    path.write_text("customer,net\n" + "42,5\n" * (SAMPLE + 10) + "0042,4.99\n" * 3)
    with pytest.raises(InputError) as error, duckdb.connect() as connection:
        check_guesses(connection, Path("app.sql"), f"SELECT * FROM read_csv('{path}')")
    assert str(error.value) == (
        "source app.sql lets DuckDB guess from the first lines that the column 'customer' holds whole numbers, but 3 "
        "rows hold others, such as '0042', which would be read wrongly; read texts (all_varchar = true for CSV, "
        "columns = {…} for JSON) and cast what is a number"
    )


@pytest.mark.parametrize("said", ["all_varchar = true", "types = {'customer': 'BIGINT', net: 'BIGINT'}"])
def test_what_a_source_says_itself_is_no_guess(folder, said):
    path = folder / "said.csv"
    path.write_text("customer,net\n" + "42,5\n" * (SAMPLE + 10) + "0042,4.99\n")
    with duckdb.connect() as connection:
        check_guesses(connection, Path("app.sql"), f"SELECT * FROM read_csv('{path}', {said})")


def test_calls_are_found_in_any_spelling_but_not_in_comments_and_texts():
    text = """-- read_csv('no')
        SELECT 'read_csv(', "read_csv" FROM READ_CSV (getvariable('raw') || '/(*.csv', header = true)
        /* read_json('x') */ JOIN read_csv_auto('b.csv', types = {'a': 'INT'}) USING (a)
        JOIN read_csv('c.csv', ALL_VARCHAR=true) USING (a)"""
    found = [
        ("read_csv", "getvariable('raw') || '/(*.csv', header = true"),
        ("read_csv_auto", "'b.csv', types = {'a': 'INT'}"),
    ]
    assert list(guessing_calls(text)) == found
    assert list(guessing_calls("SELECT * FROM read_csv(")) == [("read_csv", "")]
    assert list(guessing_calls("SELECT 'Käse, größer' AS c FROM read_csv('ü.csv')")) == [("read_csv", "'ü.csv'")]


@pytest.mark.parametrize("named", ["'{}'", '"{}"', "'{}' /* all */"])
def test_a_file_that_is_read_by_its_name_alone_is_held_against_its_guesses(folder, named):
    path = folder / "it's whole.csv"
    path.write_text("customer,net\n" + "42,5\n" * (SAMPLE + 10) + "0042,4.99\n")
    text = named.format(str(path).replace("'", "''") if named[0] == "'" else path)
    with pytest.raises(InputError, match="column 'customer' holds whole"), duckdb.connect() as connection:
        check_guesses(connection, Path("app.sql"), f"SELECT * FROM {text}")
