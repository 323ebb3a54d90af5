"""The frame: layers, doors, names and what may stand at the top level."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

PACKAGES = ("configs", "features", "models", "serving", "flows")
AGREED = {*PACKAGES, "pyproject.toml", "README.md", "notebooks", "tests", "Makefile", "LICENSE", "requirements.lock"}


def tracked(repository: Path) -> list[Path]:
    done = subprocess.run(["git", "ls-files"], cwd=repository, capture_output=True, text=True, check=True)
    return [Path(line) for line in done.stdout.splitlines()]


def test_layers_and_doors_hold(repository: Path) -> None:
    tool = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([tool, "--no-cache"], cwd=repository, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_only_agreed_names_stand_at_the_top_level(repository: Path) -> None:
    top = {path.parts[0] for path in tracked(repository)}
    assert {name for name in top if not name.startswith(".")} <= AGREED


def test_a_module_name_is_unique_and_never_a_folders() -> None:
    repository = Path(__file__).parents[1]
    modules = [
        path.stem for package in PACKAGES for path in (repository / package).rglob("*.py") if path.stem != "__init__"
    ]
    assert [name for name, count in Counter(modules).items() if count > 1] == []
    assert set(modules) & set(PACKAGES) == set()


def test_no_module_of_the_flows_hides_one_of_pythons_own() -> None:
    repository = Path(__file__).parents[1]
    assert {path.stem for path in (repository / "flows").glob("*.py")} & set(sys.stdlib_module_names) == set()


def test_no_file_names_a_registry_or_a_machines_path(repository: Path) -> None:
    forbidden = ["/" + "work/", "/" + "root/", "pypi" + ".org", "python" + "hosted", "npmjs" + ".org"]
    texts = [
        repository / path for path in tracked(repository) if path.suffix not in {".png"} and path.name != "LICENSE"
    ]
    found = [
        f"{path.name}: {word}"
        for path in texts
        if path.is_file()
        for word in forbidden
        if word in path.read_text(encoding="utf-8", errors="ignore")
    ]
    assert found == []
