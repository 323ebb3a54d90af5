"""Small inputs that came out wrong once: each comes out right now, or with a clear word (../shared/cases)."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apps import NOW, App

from configs.errors import InputError
from configs.settings import load_settings
from features.ingestion.ingest_source import TableIngest

CASES = Path(__file__).parents[2] / "shared" / "cases"
pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason="no ../shared/cases")


class Case:
    """A copy of a case: its files, its app, what ingestion said, and its snapshot."""

    def __init__(self, number: str, folder: Path) -> None:
        (found,) = CASES.glob(f"{number}-*")
        shutil.copytree(found, folder, dirs_exist_ok=True)
        self.folder = folder

    def ingest(self) -> dict[str, TableIngest]:
        settings = load_settings(str(self.folder / "profile.toml"), self.folder / "data")
        own = {"source": str(self.folder / "source.sql"), "raw": str(self.folder / "raw")}
        self.app = App(settings.model_copy(update={"ingest": settings.ingest.model_copy(update=own)}))
        return self.app.ingest(NOW)

    def users(self) -> pd.DataFrame:
        self.app.aggregate()
        return self.app.snapshots(self.app.settings.as_of).droplevel("day")

    def column(self, name: str) -> dict[str, object]:
        return self.users()[name].to_dict()


@pytest.fixture
def case(tmp_path) -> Callable[[str], Case]:
    return lambda number: Case(number, tmp_path)


def test_a_refund_told_as_a_positive_amount_is_paid_back(case):
    refund = case("01")
    assert "is taken as money paid back" in refund.ingest()["events"].notes[0]
    assert refund.column("refund_sum_365d") == {"a": 30.0, "b": 30.0}


def test_amounts_of_less_than_a_cent_count(case):
    impressions = case("02")
    impressions.ingest()
    assert impressions.column("spend_sum_90d") == {"a": 4.0, "b": 6.0, "c": 1234.0}


def test_float_ids_are_refused_by_name(case):
    with pytest.raises(InputError, match=r"events.user_id of source .* is DOUBLE, which cannot be an id"):
        case("03").ingest()


def test_a_long_number_is_a_trait(case):
    long_number = case("04")
    long_number.ingest()
    assert long_number.column("trait_crm_no") == {"a": 10150000000000017.0, "b": 10150000000000031.0}


def test_what_comes_after_the_sample_is_read_or_refused(case):
    sales = case("09")
    with pytest.raises(InputError, match=r"the column 'customer' holds whole numbers, but 100 rows .* '0042'"):
        sales.ingest()
    source = sales.folder / "source.sql"
    text = source.read_text(encoding="utf-8").replace("net AS amount", "net::DOUBLE AS amount")
    text = text.replace("sold_at AT", "sold_at::TIMESTAMP AT").replace(".csv')", ".csv', all_varchar = true)")
    source.write_text(text, encoding="utf-8")
    sales.ingest()
    spent = sales.column("spend_sum_90d")
    assert (spent["0042"], spent["42"], round(sum(spent.values()), 2)) == (999.0, 40.0, 104_039.0)


def test_ids_that_look_alike_are_one_and_blanks_are_none(case):
    export = case("14")
    events = export.ingest()["events"]
    assert events.reasons == {"user_id is missing": 2}
    assert events.notes[0].startswith("3 rows of events: user_id has blanks around it")
    spent = export.column("spend_sum_90d")
    assert (spent["007"], spent["7"], spent["x"], spent["caf\u00e9"], len(spent)) == (1234.56, 60.0, 24.0, 3.0, 4)


def test_types_of_parquet_are_read_and_what_can_be_no_trait_is_told(case):
    typed = case("15")
    assert typed.ingest()["users"].notes[0].startswith("users: since (DATE), tags (VARCHAR[]) can be no traits")
    users = typed.users()
    assert users.spend_sum_90d.tolist() == [0.29 + 999_999.99, 1.005]
    assert [name for name in users if name.startswith("trait_")] == ["trait_vip", "trait_score"]
    again = typed.ingest()
    assert (again["events"].unchanged, again["users"].unchanged) == (3, 2)


def test_names_of_columns_match_in_any_case(case):
    named = case("18")
    named.ingest()
    users = named.users()
    assert (users.trait_country.to_dict(), users.tenure_days["a"]) == ({"a": "DE", "b": "FR"}, 425.0)


@pytest.mark.parametrize("never", ["1970-01-01T00:00:00Z", "9999-12-31T23:59:59Z"])
def test_a_sign_up_that_stands_for_none_is_missing(case, never):
    sentinel = case("19")
    rows = pa.table({"user_id": ["a", "b", "c"], "signed_up_at": [never, "2024-01-10T00:00:00Z", None]})
    pq.write_table(rows, sentinel.folder / "raw" / "users.parquet")
    assert "is taken as missing" in sentinel.ingest()["users"].notes[0]
    assert sentinel.column("tenure_days") == {"a": 29.0, "b": 51.0, "c": 29.0}


def test_money_under_names_without_a_role_is_told(case):
    (note,) = case("20").ingest()["events"].notes
    assert note.startswith(
        "10 events with 200.00 USD have a name without any role: 'Purchase' (5 events with 100.00 USD"
    )


@pytest.mark.parametrize("name", ["it's", "data [1]", "#1: b"])
def test_a_folder_of_any_name_works(tmp_path, name):
    named = Case("22", tmp_path / name)
    named.ingest()
    assert named.ingest()["events"].unchanged == 2
    assert named.column("spend_sum_90d") == {"a": 10.0, "b": 20.0}


def test_a_second_of_skew_is_arrival(case):
    skewed = case("24")
    events = skewed.ingest()["events"]
    assert (events.added, events.quarantined, events.notes[0][:4]) == (200, 0, "10 r")
