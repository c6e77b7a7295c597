"""The page of everything that has a name: tokenizers, pipelines, embedders and configs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import takewhile
from pathlib import Path

HEAD = """# Names

`latentune list` shows the same tables, and which of the official weights are already on your machine.

"""
CONFIGS = """## Configs

A config is named without its suffix: `latentune train train/dit-small`. Another file includes it with
`include: train/dit-small` and changes some of its keys.

"""


def names_page(configs: Path) -> str:
    """Returns the Markdown of all names.

    Args:
        configs: The folder of the YAML files, each of which begins with a comment on its contents.
    """
    from latentune.pipelines.commands.list import ListConfig, names

    tables = names(ListConfig()).facts
    text = HEAD
    for kind in ("tokenizers", "pipelines", "embedders"):
        text += f"## {kind.capitalize()}\n\n{_table(tables[kind])}\n"
    rows = [
        {"name": f"{path.parent.name}/{path.stem}", "contents": _comment(path)}
        for path in sorted(configs.rglob("*.yaml"))
    ]
    return f"{text}{CONFIGS}{_table(rows)}"


def _comment(path: Path) -> str:
    lines = takewhile(lambda line: line.startswith("#"), path.read_text(encoding="utf-8").splitlines())
    return " ".join(line.removeprefix("#").strip() for line in lines)


def _table(rows: Iterable[Mapping[str, str]]) -> str:
    rows = list(rows)
    columns = list(rows[0])
    lines = [columns, ["---"] * len(columns)]
    for row in rows:
        cells = [str(row[column]).replace("|", "\\|") for column in columns]
        lines.append([f"`{cells[0]}`", *cells[1:]])
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)
