"""README, docs and model cards are true: commands parse, configs build, names can be imported, links resolve."""

from __future__ import annotations

import ast
import importlib
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

import latentune
from latentune.pipelines.commands.main import app
from latentune.tokenizers.cards import OFFICIAL_CARDS

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    path
    for pattern in (
        "*.md",
        "docs/**/*.md",
        "demos/**/*.md",
        "tokenizers/*/weights/*/*.md",
        "pipelines/*/weights/*/*.md",
    )
    for path in ROOT.glob(pattern)
)
GENERATED = ("changelog.md", "reference")  # pages that docs/hooks/reference.py writes
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(path: Path, *languages: str) -> Iterator[str]:
    """The code blocks of a page in one of the languages; "" is a block without a language."""
    for language, code in FENCE.findall(path.read_text(encoding="utf-8")):
        if language in languages:
            yield code


def commands(path: Path) -> list[list[str]]:
    """The arguments of every call of `latentune` in the shell blocks of a page."""
    found = []
    for code in blocks(path, "", "sh"):
        for line in code.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            while words and "=" in words[0]:
                words.pop(0)  # a variable of the environment
            if words and words[0] == "latentune":
                found.append(words[1:])
    return found


COMMANDS = [words for path in PAGES for words in commands(path)]


def parse(words: list[str]) -> Any:
    """The context of a command with parsed arguments; nothing is run."""
    command: Any = app
    context = command.make_context("latentune", list(words))
    while isinstance(command, click.Group):
        name, command, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        context = command.make_context(name, rest, parent=context)
    return context


def test_there_is_something_to_check() -> None:
    assert len(PAGES) > 15
    assert len(COMMANDS) > 30
    assert {words[0] for words in COMMANDS} >= {"encode", "train", "sample", "evaluate", "decode", "info", "convert"}


def test_an_option_that_does_not_exist_is_noticed() -> None:
    with pytest.raises(Exception, match="No such option"):
        parse(["sample", "melcodec-music-dit", "out", "--no-such-option"])


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_command_parses(words: list[str]) -> None:
    if "--help" in words:
        words = words[: words.index("--help")]
        group: Any = app
        for word in words:
            group = group.get_command(click.Context(group), word)
            assert group is not None, word
    else:
        parse(words)


@pytest.mark.parametrize(
    "words", [words[1:] for words in COMMANDS if words[0] == "train" and words[1].startswith("train/")], ids=" ".join
)
def test_a_training_command_builds_its_config(words: list[str]) -> None:
    context = parse(["train", *words])
    assert context.command.settings(context).output


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_names_in_python_blocks_exist(path: Path) -> None:
    for code in blocks(path, "python"):
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("latentune"):
                module = importlib.import_module(node.module or "")
                assert all(hasattr(module, name.name) for name in node.names), ast.unparse(node)
            elif isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == "latentune":
                assert node.attr in latentune.__all__, f"latentune.{node.attr}"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_relative_links_resolve(path: Path) -> None:
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", path.read_text(encoding="utf-8")):
        inside = (path.parent / target).resolve()
        generated = inside.is_relative_to(ROOT / "docs") and str(inside.relative_to(ROOT / "docs")).startswith(
            GENERATED
        )
        assert generated or inside.exists(), f"{path}: {target}"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_of_the_repository_that_are_named_exist(path: Path) -> None:
    folders = r"(?:configs|demos|docs|generators|pipelines|src|tests|tokenizers)"
    for name in re.findall(rf"`({folders}/[\w./-]*)`", path.read_text(encoding="utf-8")):
        assert (ROOT / name).exists(), f"{path}: {name}"


def test_the_table_of_official_weights_is_that_of_their_cards() -> None:
    text = (ROOT / "docs/guides/official-weights.md").read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| `")]
    stated = {row[0].strip("`"): row[1:6] for row in rows}
    assert stated == {
        name: [
            f"`{card.place}`",
            card.licence,
            "gated" if card.gated else "open",
            f"{card.download_gb:g} GB",
            f"{card.memory_gb:.1f} GB",
        ]
        for name, card in OFFICIAL_CARDS.items()
    }
