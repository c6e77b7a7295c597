"""The recordings on the page of the demo: rows of them, each with its caption, as they are listed in `demo.json`."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(kw_only=True)
class Clip:
    """A recording on the page."""

    label: str
    file: str  # path; below the demo's folder it is relative to it
    marks: list[tuple[float, float]] = field(default_factory=list)  # (start, end) in s of parts that are marked


@dataclass(kw_only=True)
class Exhibit:
    """Recordings next to each other."""

    section: str  # of the page
    caption: str
    clips: list[Clip]
    text: str = ""  # below the caption
