"""The names that `import latentune` offers, and the cost of importing it."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import latentune

INIT = Path(latentune.__file__ or "")


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_type_checkers_and_python_see_the_same_names_in_the_same_modules() -> None:
    tree = ast.parse(INIT.read_text())
    guarded = next(node for node in tree.body if isinstance(node, ast.If))
    imports = {
        (node.module, alias.name)
        for node in guarded.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.asname == alias.name  # only a name imported as itself is public to a type checker
    }
    assert imports == {(module, name) for name, module in latentune._PLACES.items()}


def test_names_are_loaded_when_they_are_used_and_are_those_of_their_modules() -> None:
    from latentune.pipelines.encode import encode_dataset
    from latentune.tokenizers.load import load_tokenizer

    assert latentune.load_tokenizer is load_tokenizer
    assert latentune.encode_dataset is encode_dataset
    assert latentune.train is latentune.train


def test_the_import_loads_no_other_module_of_the_package() -> None:
    assert run("import sys, latentune; print([m for m in sys.modules if m.startswith('latentune.')])") == "[]"
    heavy = "[m for m in ('torch', 'numpy', 'click', 'yaml', 'rich') if m in sys.modules]"
    assert run(f"import sys, latentune; dir(latentune); latentune.ConfigError; print({heavy})") == "[]"


def test_dir_lists_the_public_names_and_an_unknown_one_is_an_attribute_error() -> None:
    assert dir(latentune) == latentune.__all__
    assert run("from latentune import *; print('load_tokenizer' in dir())") == "True"
    with pytest.raises(AttributeError, match="module 'latentune' has no attribute 'load_tokeniser'"):
        latentune.load_tokeniser  # noqa: B018
    with pytest.raises(ImportError, match="load_tokeniser"):
        exec("from latentune import load_tokeniser")
    assert not hasattr(latentune, "__wrapped__")


@pytest.mark.parametrize("folder", [".", "/"])
def test_the_package_runs_as_a_command(folder: str) -> None:
    environment = {**os.environ, "PYTHONPATH": str(INIT.parents[1])}
    found = subprocess.run(
        [sys.executable, "-m", "latentune", "--help"], capture_output=True, text=True, env=environment, cwd=folder
    )
    assert found.returncode == 0
    assert found.stdout.startswith("Usage: latentune ")
