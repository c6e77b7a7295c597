"""Guards of the layout: linked folders, packages, imports, dependencies and shipped files."""

import ast
import json
import re
import subprocess
import sys
import tomllib
from importlib.resources import files
from pathlib import Path

import pytest

import latentune

ROOT = Path(__file__).resolve().parents[1]
LINKED = ("tokenizers", "generators", "pipelines", "configs", "demos")
SOURCES = (*(ROOT / name for name in LINKED[:3]), ROOT / "src/latentune/core", ROOT / "src/latentune/layers")
MAX_TEST_LINES = 350
# what `make setup` installs
TESTED_EXTRAS = ("adapters", "dev", "docs", "ray", "report", "serve", "tensorboard", "torchaudio", "web")
CODE = sorted(path for folder in SOURCES for path in folder.rglob("*.py"))


def test_hugging_face_tokenizers_is_not_shadowed() -> None:
    import tokenizers

    assert tokenizers.__file__ is not None, "tokenizers/ of this repository was imported in place of Hugging Face's"
    assert ROOT / "tokenizers" not in Path(tokenizers.__file__).resolve().parents


@pytest.mark.parametrize("name", LINKED)
def test_a_linked_folder_is_not_a_package_of_its_own(name: str) -> None:
    assert (ROOT / "src" / "latentune" / name).resolve() == ROOT / name
    assert not (ROOT / name / "__init__.py").exists(), f"{name}/__init__.py would make `import {name}` ours"


def test_every_folder_with_code_below_a_linked_folder_is_a_package() -> None:
    folders = {path.parent for path in CODE if path.parent.parent != ROOT}
    lacking = [folder for folder in folders if not (folder / "__init__.py").exists()]
    assert not lacking, f"a wheel would leave these out of its packages: {lacking}"


def test_tests_are_not_packages_and_their_names_are_unique() -> None:
    assert not list((ROOT / "tests").rglob("__init__.py"))
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert len(names) == len(set(names)), sorted(name for name in names if names.count(name) > 1)


def test_tests_mirror_the_tree() -> None:
    for folder in sorted({path.parent for path in (ROOT / "tests").rglob("test_*.py")}):
        place = folder.relative_to(ROOT / "tests")
        parents = ROOT, ROOT / "src" / "latentune"
        assert any((parent / place).is_dir() for parent in parents), f"tests/{place} tests a folder that does not exist"


def test_no_test_file_is_long() -> None:
    lengths = {path: len(path.read_text().splitlines()) for path in (ROOT / "tests").rglob("*.py")}
    too_long = {str(path): length for path, length in lengths.items() if length > MAX_TEST_LINES}
    assert not too_long, f"split these by what they test: {too_long}"


def test_every_config_is_readable_as_package_data() -> None:
    paths = sorted((ROOT / "configs").rglob("*.yaml"))
    assert paths
    for path in paths:
        assert (files("latentune.configs") / str(path.relative_to(ROOT / "configs"))).read_text()


@pytest.mark.parametrize("path", CODE, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_inside_the_package_are_relative_and_nothing_is_printed(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level or not (node.module or "").startswith("latentune"), f"{path}:{node.lineno}"
        elif isinstance(node, ast.Import):
            assert not any(name.name.split(".")[0] == "latentune" for name in node.names), f"{path}:{node.lineno}"
        elif isinstance(node, ast.Call):
            assert getattr(node.func, "id", "") != "print", f"{path}:{node.lineno} prints: use logging"


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = "import sys, latentune; print([m for m in ('torch', 'diffusers', 'numpy') if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_every_public_name_of_the_package_exists() -> None:
    assert latentune.__all__ == sorted(latentune.__all__)
    assert all(hasattr(latentune, name) for name in latentune.__all__)
    assert latentune.__version__ == tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def test_every_direct_dependency_has_a_tested_version() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = {line.split("==")[0].lower().replace("_", "-") for line in lines if "==" in line}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *(line for extra in TESTED_EXTRAS for line in extras[extra])]
    names = {re.split(r"[\[<>=]", line)[0].lower().replace("_", "-") for line in wanted}
    assert names
    assert not names - pinned


def test_fixtures_are_small_and_each_has_its_licence() -> None:
    folder = ROOT / "demos" / "fixtures"
    audio = {path.name: path.stat().st_size for path in folder.iterdir() if path.suffix in (".wav", ".flac", ".ogg")}
    assert sum(audio.values()) < 1_000_000
    rows = [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]
    assert {row["path"] for row in rows} == set(audio)
    licences = (folder / "LICENCES.md").read_text()
    for row in rows:
        assert row["text"]
        assert row["label"] in ("music", "speech")
        assert row["licence"]
        assert row["path"] in licences


def test_shipped_weights_leave_a_wheel_that_pypi_takes() -> None:
    sizes = {path: path.stat().st_size for name in LINKED for path in (ROOT / name).rglob("*.safetensors")}
    assert sum(sizes.values()) < 95_000_000, sizes  # of 100 MB a file
