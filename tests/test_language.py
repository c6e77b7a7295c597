"""Guards of the language: docstrings, messages, comments and pages are plain technical English."""

from __future__ import annotations

import ast
import functools
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


@functools.cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """Line and text of every docstring, other string and comment of a Python file."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            yield node.lineno, node.value
    with tokenize.open(path) as file:
        for token in tokenize.generate_tokens(file.readline):
            if token.type == tokenize.COMMENT:
                yield token.start[0], token.string


def docstrings(path: Path) -> Iterator[tuple[int, str]]:
    """Line and text of every docstring of a Python file."""
    for node in ast.walk(tree_of(path)):
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


def lacking_sections(function: ast.FunctionDef, in_class: bool) -> list[str]:
    """Which of `Args`, `Returns` and `Raises` the docstring of a public function should have and does not.

    A method without a docstring has that of its base class; one that refers to another with "; see `" has its sections.
    """
    arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    text = ast.get_docstring(function)
    if sum(one.arg not in ("self", "cls") for one in arguments) < 3 or (text is None and in_class):
        return []
    text = text or ""
    if function.name.startswith("_") or "; see `" in text.partition("\n")[0] or is_command(function):
        return []
    found = [] if "\nArgs:\n" in text else ["Args"]
    returned = function.returns is not None and ast.unparse(function.returns) != "None"
    if (
        returned
        and not re.match(r"(?:Returns|Yields|An?|The) ", text)
        and not re.search(r"\n(?:Returns|Yields):", text)
    ):
        found.append("Returns")
    if any(isinstance(node, ast.Raise) for node in ast.walk(function)) and "\nRaises:\n" not in text:
        found.append("Raises")
    return found


def is_command(function: ast.FunctionDef) -> bool:
    """Whether the docstring is the help text of a command."""
    return any("click." in ast.unparse(decorator) for decorator in function.decorator_list)


def test_public_functions_of_three_arguments_have_args_returns_and_raises() -> None:
    found, num_functions = [], 0
    for path in SOURCES:
        if not path.is_relative_to(ROOT / "tests") and not path.is_relative_to(ROOT / "demos"):
            tree = tree_of(path)
            classes = [node for node in tree.body if isinstance(node, ast.ClassDef) and not node.name.startswith("_")]
            for parent in (tree, *classes):
                functions = [node for node in parent.body if isinstance(node, ast.FunctionDef)]
                num_functions += len(functions)
                lacking = [(node, lacking_sections(node, parent is not tree)) for node in functions]
                found += [f"{path}:{node.lineno} {node.name}: {', '.join(names)}" for node, names in lacking if names]
    assert num_functions > 1000
    assert not found, "\n".join(found)
