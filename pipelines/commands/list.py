"""The command `latentune list`: everything that has a name."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.resources import files
from itertools import takewhile
from typing import TYPE_CHECKING, Any, Literal

from ...core.config import option
from ...core.extras import install_command
from .options import ConfigCommand
from .tools import Outcome

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, Group, RenderResult
    from rich.table import Table

Row = dict[str, str]
SHIPS = "ships"


@dataclass(frozen=True, kw_only=True)
class ListConfig:
    """Which names to list."""

    kind: Literal["all", "tokenizers", "pipelines", "configs", "embedders"] = option(
        "all", "Names to list: all, tokenizers, pipelines, configs or embedders.", positional=True
    )


def names(config: ListConfig) -> Outcome:
    """List the names of tokenizers, pipelines, configs and embedders, with size, rate, licence and availability."""
    tables = {kind: rows() for kind, rows in KINDS.items() if config.kind in ("all", kind)}
    return Outcome(facts=tables, text=_render(tables))


def _tokenizers() -> list[Row]:
    from ...core.hub import is_downloaded
    from ...tokenizers.cards import OFFICIAL_CARDS, SHIPPED_CARDS, OfficialCard

    rows = []
    for name, card in {**SHIPPED_CARDS, **OFFICIAL_CARDS}.items():
        if not isinstance(card, OfficialCard):
            available = SHIPS
        elif is_downloaded(card.place, *card.files):
            available = "downloaded"
        else:
            access = ", gated" if card.gated else ""
            available = f"on the hub ({card.place}, {card.download_gb:g} GB{access})"
        rows.append(
            {
                "name": name,
                "class": card.class_name,
                "size": f"{card.parameters_m:g} M",
                "audio": card.audio,
                "latents": card.latents,
                "tokens": card.tokens,
                "licence": card.licence,
                "available": available,
            }
        )
    return rows


def _pipelines() -> list[Row]:
    from ..data.cards import PIPELINE_CARDS

    return [
        {
            "name": name,
            "class": card.class_name,
            "size": f"{card.parameters_m:g} M",
            "tokenizer": card.tokenizer,
            "conditions": card.conditions,
            "licence": card.licence,
            "available": SHIPS,
        }
        for name, card in PIPELINE_CARDS.items()
    ]


def _configs() -> list[Row]:
    from ...core.settings import shipped_configs

    return [{"name": name, "contents": _first_sentence(name)} for name in shipped_configs()]


def _embedders() -> list[Row]:
    from ..measure.embedders.cards import EMBEDDERS

    rows = []
    for name, card in EMBEDDERS.items():
        fetched = next(iter(card.checkpoints.values()), None)
        available = "needs a checkpoint" if fetched is None else f"fetches {fetched.size_gb:g} GB, or a checkpoint"
        available = SHIPS if card.shipped else available
        if not card.installed:
            available += f" and {install_command(str(card.package), card.extra)}"
        rows.append(
            {
                "name": name,
                "size": card.size,
                "audio": f"{card.sample_rate} Hz",
                "window": card.window,
                "width": card.dim,
                "licence": card.licence,
                "available": available,
            }
        )
    return rows


def _first_sentence(config: str) -> str:
    """The first sentence of the comment that a shipped config begins with."""
    lines = (files("latentune.configs") / f"{config}.yaml").read_text(encoding="utf-8").splitlines()
    comment = [line.removeprefix("#").strip() for line in takewhile(lambda line: line.startswith("#"), lines)]
    return re.split(r"(?<=\w{2})[.:](?=\s|$)", " ".join(comment))[0]


KINDS = {"tokenizers": _tokenizers, "pipelines": _pipelines, "configs": _configs, "embedders": _embedders}


def _render(tables: dict[str, list[Row]]) -> Group:
    from rich.console import Group

    parts: list[Any] = []
    for kind, rows in tables.items():
        parts += [*([""] if parts else []), _Listing(kind, rows)]
    return Group(*parts)


@dataclass(frozen=True)
class _Listing:
    """Rows as a table where it fits the terminal, else as paragraphs: a name, and below it the facts in one line."""

    kind: str
    rows: list[Row]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.measure import Measurement
        from rich.padding import Padding
        from rich.text import Text

        table = self._table()
        if Measurement.get(console, options.update(width=10_000), table).maximum <= options.max_width:
            yield table
            return
        yield Text(self.kind.capitalize(), style="bold")
        for row in self.rows:
            name, *facts = row.items()
            yield Text(name[1], style="bold cyan")
            yield Padding(Text("; ".join(f"{column} {value}" for column, value in facts)), (0, 0, 0, 4))

    def _table(self) -> Table:
        from rich.table import Table
        from rich.text import Text

        title = Text(self.kind.capitalize(), style="bold")
        table = Table(box=None, title=title, title_justify="left", pad_edge=False)
        for column in self.rows[0]:
            table.add_column(column, no_wrap=True)
        for row in self.rows:
            table.add_row(*(Text(text) for text in row.values()))
        return table


command = ConfigCommand(names, ListConfig, name="list")
