"""The one table of results: a row for each system, file and figure, and from these the figures of systems."""

from __future__ import annotations

import math
from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from typing import Any

from .export import table_dict
from .means import rows_sample
from .rows import FigureFacts, Row, SetFigure
from .samples import (
    Difference,
    Estimate,
    Resampling,
    Sample,
    difference,
    interval,
)


@dataclass(kw_only=True)
class ResultsTable:
    """Measurements of systems, and all that a reader needs to know about them."""

    schema: str = ""  # of the JSON
    figures: dict[str, FigureFacts] = field(default_factory=dict)  # those that are summarised, in their order
    systems: dict[str, dict[str, Any]] = field(default_factory=dict)  # facts of each, in their order
    rows: list[Row] = field(default_factory=list)
    resampling: Resampling = field(default_factory=Resampling)
    nested: bool = False  # rows of one system, file and figure are repeated draws of it, not items of their own
    facts: dict[str, Any] = field(default_factory=dict)  # for the JSON: settings, identities, what was left out
    failures: list[dict[str, str]] = field(default_factory=list)  # path, reason: files that could not be measured
    warnings: list[str] = field(default_factory=list)  # what makes the figures unreliable, in sentences
    _sets: dict[tuple[str, str], SetFigure] = field(default_factory=dict, repr=False)
    _details: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict, repr=False)
    _estimates: dict[tuple[str, str], Estimate] = field(default_factory=dict, repr=False)
    _differences: dict[tuple[str, str, str], Difference | None] = field(default_factory=dict, repr=False)
    _index: tuple[int, dict[tuple[str, str], list[Row]]] = field(default=(0, {}), repr=False)

    def add(
        self, system: str, file: str, figure: str, value: float | str | None, *, weight: float = 1.0, note: str = ""
    ) -> None:
        """Adds a row; a system that is new comes last.

        Args:
            system: name of the system.
            file: name of the file.
            figure: name of the figure.
            value: None where the file has no value.
            weight: of the value in the mean over files.
            note: why there is no value.
        """
        self.systems.setdefault(system, {})
        self.rows.append(Row(system, file, figure, value, weight, note))
        self._changed(system, figure)

    def add_set(self, system: str, figure: str, found: SetFigure) -> None:
        """Adds a figure of a system's files as a whole.

        Args:
            system: name of the system.
            figure: name of the figure.
            found: the figure.
        """
        self.systems.setdefault(system, {})
        self._sets[system, figure] = found
        self._changed(system, figure)

    def add_details(self, system: str, figure: str, details: Mapping[str, Any]) -> None:
        """Adds numbers that belong to a mean, such as its standard deviation.

        Args:
            system: name of the system.
            figure: name of the figure.
            details: the numbers by name.
        """
        self._details.setdefault((system, figure), {}).update(details)
        self._changed(system, figure)

    @property
    def files(self) -> list[str]:
        """Names of all files, in their order."""
        return list(dict.fromkeys(row.file for row in self.rows))

    @property
    def undefined(self) -> list[dict[str, str]]:
        """Rows without a value for which a reason is known: system, file, figure, reason."""
        return [
            {"system": row.system, "file": row.file, "figure": row.figure, "reason": row.note}
            for row in self.rows
            if row.note
        ]

    @property
    def metric(self) -> str:
        """The first figure."""
        return next(iter(self.figures))

    @property
    def value(self) -> float:
        """The first figure of the first system; NaN where it has no value."""
        found = self.estimate(next(iter(self.systems)), self.metric).value
        return math.nan if found is None else found

    def select(self, system: str, figure: str, files: Container[str] | None = None) -> list[Row]:
        """Selects the rows of one system and figure.

        Args:
            system: name of the system.
            figure: name of the figure.
            files: take only the rows of these; by default all.

        Returns:
            The rows in the order in which they were added.
        """
        if self._index[0] != len(self.rows):
            index: dict[tuple[str, str], list[Row]] = {}
            for row in self.rows:
                index.setdefault((row.system, row.figure), []).append(row)
            self._index = len(self.rows), index
        rows = self._index[1].get((system, figure), [])
        return rows if files is None else [row for row in rows if row.file in files]

    def estimate(self, system: str, figure: str, files: Container[str] | None = None) -> Estimate:
        """Computes the mean over files of a figure, or the figure of the set, with its interval.

        Args:
            system: name of the system.
            figure: name of the figure.
            files: take only these; by default all. A figure of a set has no value for a part of the files.

        Returns:
            The figure; computed once for all files.
        """
        if files is not None:
            return self._estimate(system, figure, files)
        if (system, figure) not in self._estimates:
            self._estimates[system, figure] = self._estimate(system, figure, None)
        return self._estimates[system, figure]

    def difference(self, first: str, other: str, figure: str, *, common: bool = False) -> Difference | None:
        """Computes the figure of system `other` minus that of `first`.

        Args:
            first: name of the first system.
            other: name of the other system.
            figure: which figure.
            common: compare only files for which both systems have a value.

        Returns:
            The difference with its interval, or None where one of the systems has no value.

        Raises:
            ValueError: a table of repeated draws, whose differences must be figures of their own.
        """
        if common:
            return self._difference(first, other, figure, common)
        key = first, other, figure
        if key not in self._differences:
            self._differences[key] = self._difference(first, other, figure, common)
        return self._differences[key]

    def _difference(self, first: str, other: str, figure: str, common: bool) -> Difference | None:
        if self.nested:
            raise ValueError("the table holds repeated draws: add differences of the same draw as a figure of its own")
        ends = [self.estimate(system, figure) for system in (first, other)]
        if ends[0].value is None or ends[1].value is None:
            return None
        files = self._common(first, other, figure) if common else None
        samples = [self._sample(system, figure, files) for system in (first, other)]
        one, two = samples
        if one is None or two is None:
            return Difference(value=ends[1].value - ends[0].value, note=ends[0].note or ends[1].note)
        num_files = min(len(one.names), len(two.names))
        plain = Difference(value=two.value - one.value, num_files=num_files)
        if num_files < self.resampling.min_files or (not common and any(end.low is None for end in ends)):
            plain.note = ends[0].note or ends[1].note  # what kept a figure from its interval
            return plain
        try:
            return difference(one, two, self.resampling)
        except ValueError as error:  # a choice of files was too few windows
            plain.note = f"no interval: {error}"
            return plain

    def to_dict(self) -> dict[str, Any]:
        """The table for JSON; see `export.table_dict`."""
        return table_dict(self)

    def settle(self) -> None:
        """Computes all figures, and their differences from the first system, and releases what they were made from.

        Without it the table keeps what figures of sets are resampled from, such as embeddings on disk.
        """
        for number, system in enumerate(self.systems):
            for figure in self.figures:
                self.estimate(system, figure)
                if number:
                    self.difference(next(iter(self.systems)), system, figure)
        for found in self._sets.values():
            found.of_files = None

    def _changed(self, system: str, figure: str) -> None:
        self._estimates.pop((system, figure), None)
        self._differences.clear()

    def _estimate(self, system: str, figure: str, files: Container[str] | None) -> Estimate:
        result = Estimate(value=None, details=dict(self._details.get((system, figure), {})))
        if (of_set := self._sets.get((system, figure))) is not None:
            result = Estimate(value=of_set.value, details=dict(of_set.details), note=of_set.note)
            if files is not None:
                return Estimate(value=None, note=f"{figure} is a figure of all files together")
        else:
            rows = self.select(system, figure, files)
            result.num_values = sum(row.value is not None for row in rows)
            result.num_missing = len(rows) - result.num_values
        if (sample := self._sample(system, figure, files)) is not None:
            result.value = sample.value
            self._add_interval(result, sample)
        return result

    def _add_interval(self, result: Estimate, sample: Sample) -> None:
        num_files, resampling = len(sample.names), self.resampling
        if not (resampling.num_set_resamples if sample.of_set else resampling.num_resamples):
            return
        if num_files < resampling.min_files:
            result.note = f"no interval: {num_files} files, at least {resampling.min_files} are needed"
            return
        try:
            result.low, result.high = interval(sample, resampling)
        except ValueError as error:  # a choice of files was too few windows
            result.note = f"no interval: {error}"

    def _sample(self, system: str, figure: str, files: Container[str] | None = None) -> Sample | None:
        """The sample of a figure; None where it has no value, or is a figure of a set that cannot be resampled."""
        bounds = self.figures.get(figure, FigureFacts()).bounds
        if (of_set := self._sets.get((system, figure))) is not None:
            if of_set.value is None or of_set.of_files is None:
                return None
            found = Sample(names=of_set.names, value=of_set.value, of_files=of_set.of_files, of_set=True, bounds=bounds)
            found.subsets = of_set.subsets
            return found
        return rows_sample(self.select(system, figure, files), nested=self.nested, bounds=bounds)

    def _common(self, first: str, other: str, figure: str) -> set[str]:
        ends = ({row.file for row in self.select(name, figure) if row.value is not None} for name in (first, other))
        return set.intersection(*ends)
