"""What an experiment found: a table, the facts around it, and how they are written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...tokenizers.parts.files import write_json, write_text
from ..metrics.codec_result import csv_text

SCHEMA = "latentune-experiment-1"
Row = dict[str, Any]


@dataclass(kw_only=True)
class ExperimentResult:
    """Rows of a table; None where there is no value."""

    name: str
    columns: tuple[str, ...]
    rows: list[Row]
    facts: dict[str, Any] = field(default_factory=dict)  # config, codec, models, what was left out and why
    warnings: list[str] = field(default_factory=list)
    draw: Callable[[Path], None] | None = None  # writes the PNG

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        return {"schema": SCHEMA, "experiment": self.name, "rows": self.rows, "warnings": self.warnings, **self.facts}

    def write(self, folder: str | Path) -> list[Path]:
        """`name`.csv, .json and, where there is a plot, .png in a folder that exists; returns their paths."""
        paths = [Path(folder) / f"{self.name}{suffix}" for suffix in (".csv", ".json", ".png")]
        write_text(paths[0], csv_text(self.columns, self.rows))
        write_json(paths[1], self.to_dict())
        if self.draw is None:
            return paths[:2]
        self.draw(paths[2])
        return paths
