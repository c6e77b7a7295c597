"""The contents of a results table: a row for each system, file and figure, facts of figures, figures of whole sets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from .intervals import UNBOUNDED, Bounds
from .samples import OfFiles

Better = Literal["lower", "higher", "zero"]


class Row(NamedTuple):
    """One measurement."""

    system: str
    file: str
    figure: str
    value: float | str | None  # None: the file has no value, see `note`; a text, such as a transcript, is only kept
    weight: float = 1.0  # of the value in the mean over files, such as the number of words of a word error rate
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class FigureFacts:
    """How a figure is read."""

    better: Better | None = None
    unit: str = ""
    title: str = ""  # in words
    bounds: Bounds = UNBOUNDED
    model: str = ""  # that produces it, where values of different models cannot be compared


@dataclass(kw_only=True)
class SetFigure:
    """A figure of all files of a system together that is not a mean over files."""

    value: float | None
    of_files: OfFiles | None = None  # for intervals: the figure of any choice of files
    names: Sequence[str] = ()  # of the files
    subsets: bool = False  # a choice must hold no file twice
    details: dict[str, Any] = field(default_factory=dict)
    note: str = ""  # why there is no value
