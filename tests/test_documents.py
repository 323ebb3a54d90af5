"""Documents: what they point at is there, what they show runs, and the front page stays short."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml
from nights import without_prefect
from typer.testing import CliRunner

from configs.guard_settings import Guard
from configs.settings import load_settings
from features.ingestion.contract import ALIASES, CONTRACT
from flows.cli import app

REPOSITORY = Path(__file__).parents[1]
DOCUMENTS = sorted([*REPOSITORY.glob("*.md"), *REPOSITORY.glob("[a-z]*/*.md")])
SALES = """id,customer,sold_at,net,category
1,0042,2024-03-01 09:30:00,12.50,books
2,42,2024-03-02 18:00:00,8.00,toys
"""


def blocks(document: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", document.read_text(encoding="utf-8"), flags=re.DOTALL)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_what_a_document_points_at_is_there(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    targets = [target for target in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in target]
    assert [target for target in targets if not (document.parent / target).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_what_a_document_calls_by_path_is_there(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    paths = re.findall(r"`((?:configs|features|models|serving|flows|tests|notebooks)/[\w./-]+)`", text)
    assert [path for path in paths if not (REPOSITORY / path).exists()] == []
    makes = re.findall(r"make bench BENCH=(\w+\.py)", text) + re.findall(r"`(bench_\w+\.py)`", text)
    assert [name for name in makes if not (REPOSITORY / "tests" / "benchmarks" / name).exists()] == []


def test_the_front_page_is_short_and_every_folder_has_its_own() -> None:
    assert len((REPOSITORY / "README.md").read_text(encoding="utf-8").splitlines()) <= 250
    for folder in ("configs", "features", "models", "serving", "flows"):
        assert (REPOSITORY / folder / "README.md").is_file()
        assert f"]({folder}/README.md)" in (REPOSITORY / "README.md").read_text(encoding="utf-8")


def test_the_commands_of_the_make_file_are_those_of_the_front_page() -> None:
    rules = re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    shown = {
        word for block in blocks(REPOSITORY / "README.md", "sh") for word in re.findall(r"^make (\S+)", block, re.M)
    }
    assert shown <= set(rules)


def test_the_source_and_the_profile_of_the_configuration_page_take_a_shops_sales(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_prefect(monkeypatch)
    page = REPOSITORY / "configs" / "README.md"
    (sql,), tables = blocks(page, "sql"), blocks(page, "toml")
    profile, offers, texts, play, experiment, segments, guards = tables
    (tmp_path / "exports" / "sales").mkdir(parents=True)
    (tmp_path / "exports" / "sales" / "march.csv").write_text(SALES, encoding="utf-8")
    own = f'{profile}\n{guards}\n[segments]\nfiles = ["activity", "my_segments"]\n'
    files = {
        "my_source.sql": sql,
        "my_offers.toml": f"{offers}\n{texts}\n{play}\n{experiment}",
        "my_segments.toml": segments,
        "my_shop.toml": own,
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    place = ["--data-dir", str(tmp_path / "data"), "--json"]
    checked = CliRunner().invoke(app, ["check", str(tmp_path / "my_shop.toml"), "--as-of", "2024-03-03", *place])
    faults = json.loads(checked.stdout)["faults"]  # two sales are no history, and that is all that is wrong
    assert [fault.split(" of ")[0] for fault in faults] == ["2 days", "2"]
    result = CliRunner().invoke(app, ["ingest", "--profile", str(tmp_path / "my_shop.toml"), *place])
    assert result.exit_code == 0, result.stderr
    metrics = json.loads(result.stdout)["metrics"]
    assert (metrics["events.added"]["value"], metrics["events.quarantined"]["value"]) == (2, 0)


def test_the_table_of_the_contract_is_that_of_the_code() -> None:
    page = (REPOSITORY / "configs" / "README.md").read_text(encoding="utf-8")
    for table in (*CONTRACT, ALIASES):
        (row,) = re.findall(rf"^\| `{table.name}` \| (.*) \|(.*)\|$", page, re.M)
        required, others = (re.findall(r"\w+", " ".join(re.findall(r"`([^`]+)`", cell))) for cell in row)
        assert sorted(required) == sorted(column.name for column in table.columns if column.required)
        assert sorted(others) == sorted(column.name for column in table.columns if not column.required)


def test_the_table_of_guards_is_that_of_the_defaults() -> None:
    page = (REPOSITORY / "configs" / "README.md").read_text(encoding="utf-8")
    shown = {name: float(limit) for name, limit in re.findall(r"^\| `(\w+)` \| [^|]* \| ([\d.]+)[^|]*\|", page, re.M)}
    guards = {name: guard.limit for name, guard in load_settings().guards if isinstance(guard, Guard)}
    assert {name: shown.get(name) for name in guards} == guards


def test_pre_commit_runs_what_make_check_runs() -> None:
    hooks = yaml.safe_load((REPOSITORY / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    assert [hook["entry"] for repo in hooks["repos"] for hook in repo["hooks"]] == ["make check"]
