"""Guards of the language: docstrings, messages, comments and pages are plain technical English."""

from __future__ import annotations

import ast
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = (
    "tokenizers",
    "generators",
    "pipelines",
    "src/latentune/core",
    "src/latentune/layers",
    "demos",
    "docs",
    "tests",
)
PAGES = ("*.md", "Makefile", "*.toml", "docs/**/*.md", "demos/**/*.md", "configs/**/*.yaml", "*/**/weights/**/*.md")
THIS = Path(__file__).resolve()
# what is written -> what to write in its place
FORMS = {
    r"\bbeside\b": "next to, in addition to, compared with",
    r"\banew\b": "again",
    r"\bcame to\b": "a verb that says what happens",
    r"\bbe had\b": "be available",
    r"(?<!there )(?<!There )\b(?:is|are|was|were) no (?!longer|more|less|fewer|such)": "is not a, are not",
    r"\b(?:goes|go|going|went) on\b(?! (?:the|a|to)\b)": "continue, resume",
    r"\b(?:tells|told)\b(?! apart)": "says, shows, distinguishes",
    r"\broads?\b": "step, path",
    r"\bhouse\b": "layout",
    r"\b1 is none\b": "1 turns it off",
}


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """Line and text of every docstring, other string and comment of a Python file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            yield node.lineno, node.value
    with tokenize.open(path) as file:
        for token in tokenize.generate_tokens(file.readline):
            if token.type == tokenize.COMMENT:
                yield token.start[0], token.string


def docstrings(path: Path) -> Iterator[tuple[int, str]]:
    """Line and text of every docstring of a Python file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            text = ast.get_docstring(node)
            if text:
                yield getattr(node, "lineno", 1), text


SOURCES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py") if path != THIS)


@pytest.fixture(scope="module")
def written() -> list[tuple[str, str]]:
    """Place and text of everything that is written: strings and comments of the code, and the lines of pages."""
    found = [(f"{path}:{line}", text) for path in SOURCES for line, text in texts(path)]
    for path in sorted({path for glob in PAGES for path in ROOT.glob(glob)}):
        lines = path.read_text(encoding="utf-8").splitlines()
        found += [(f"{path}:{number}", line) for number, line in enumerate(lines, 1)]
    return found


@pytest.mark.parametrize("form", FORMS)
def test_a_form_is_not_used(form: str, written: list[tuple[str, str]]) -> None:
    assert len(written) > 5000
    found = [place for place, text in written if re.search(form, text)]
    assert not found, f"write {FORMS[form]} instead: {found}"


def test_docstrings_have_a_subject_and_do_not_begin_with_what() -> None:
    found = [
        f"{path}:{line}" for path in SOURCES for line, text in docstrings(path) if text.startswith(("What ", "Of "))
    ]
    assert not found, f"say what it is or does: {found}"


def test_every_argument_has_an_entry_of_its_own() -> None:
    """The documentation is generated from the docstrings, and a list of names is not the name of an argument."""
    entry = re.compile(r"^ {4}\w+(?:, \w+)+: ", re.MULTILINE)
    found = []
    for path in SOURCES:
        for line, text in docstrings(path):
            _, _, arguments = text.partition("\nArgs:\n")
            if entry.search(re.split(r"\n(?:Returns|Raises|Yields):\n", arguments)[0]):
                found.append(f"{path}:{line}")
    assert not found, f"write one entry per argument: {found}"
