"""The frame: layers, doors, names and what may stand at the top level."""

from __future__ import annotations

import ast
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


FILE_ACCESS = {
    "exists", "glob", "rglob", "iterdir", "mkdir", "makedirs", "unlink", "rmdir", "rmtree", "touch", "stat", "open",
    "is_file", "is_dir", "read_text", "read_bytes", "write_bytes", "write_text", "listdir", "scandir", "walk",
}  # fmt: skip
STORAGE = {"storage", "tables", "publishing", "stores"}
OF_STORAGE = {"shutil", "tempfile", "fcntl", "glob"}
# what lies outside the data folder: the operator's scripts and raw files, our own configuration, the system's processes
ELSEWHERE = {
    ("source_script", "is_dir"), ("source_script", "read_text"), ("source_script", "exists"),
    ("feature_store", "read_text"),
    ("kept_profile", "is_file"), ("kept_profile", "read_bytes"),
    ("run_records", "read_text"), ("run_records", "exists"),
    ("text_lines", "read_text"),
    ("desk_pictures", "mkdir"), ("desk_pictures", "write_bytes"), ("desk_pictures", "tempfile"),
    ("desk_pictures", "open"), ("browser_tab", "shutil"),
}  # fmt: skip


def file_access(path: Path) -> set[str]:
    """Names by which a module reaches for files itself: methods, and modules that it imports."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    ours = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        and (node.module or "").startswith(tuple(f"features.{room}" for room in STORAGE))
        for alias in node.names
    }
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and not is_door(node.func.value):
            found |= {node.func.attr} & FILE_ACCESS
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            found |= {node.func.id} & FILE_ACCESS - ours
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names} & OF_STORAGE
        elif isinstance(node, ast.ImportFrom):
            found |= {node.module or ""} & OF_STORAGE
    return found


def is_door(owner: ast.expr) -> bool:
    """Tell whether a method belongs to a `Storage`, which is named ``files``, or to a `Lake`."""
    name = owner.attr if isinstance(owner, ast.Attribute) else owner.id if isinstance(owner, ast.Name) else ""
    return name in {"files", "lake"} or (
        isinstance(owner, ast.Call) and isinstance(owner.func, ast.Name) and owner.func.id in {"Lake", "LocalFolder"}
    )


def test_files_of_the_data_folder_are_reached_through_the_storage_rooms_alone() -> None:
    repository = Path(__file__).parents[1]
    modules = [path for package in PACKAGES[1:] for path in sorted((repository / package).rglob("*.py"))]
    others = [path for path in modules if path.parent.name not in STORAGE]
    found = {(path.stem, name) for path in others for name in file_access(path)}
    assert found <= ELSEWHERE, found - ELSEWHERE
    inside = [path for path in modules if path.parent.name in STORAGE]
    assert {name for path in inside for name in file_access(path)} >= {"mkdir", "unlink", "fcntl"}
