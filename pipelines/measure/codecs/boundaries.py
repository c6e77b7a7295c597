"""Artifacts at the borders of chunks (the third experiment of CoDiCodec): errors near borders against elsewhere."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..embedders.base import Embedder
from ..results import FigureFacts, ResultsTable, comparison, summary_records
from ..results.findings import Findings
from .figures.borders import NUM_BINS, border_errors, split_at_borders
from .figures.common import Undefined
from .frechet import ReconstructionSets
from .metrics import Case, Metric
from .plots import boundaries_png
from .setup import Setup, frechet_warnings

FIGURES = ("near_error", "far_error", "excess", "step_ratio", "original_step_ratio")
ENDS = ("", "_low", "_high")
COLUMNS = ("system", "num_files", "num_borders", *(f"{name}{end}" for name in FIGURES for end in ENDS))
MODES = ("parallel", "autoregressive")
SIDES = ("at_borders", "elsewhere")


class BorderMetric:
    """Border errors as a metric; it adds up the profiles of each system."""

    def __init__(self, chunk_samples: int, lead_samples: int, window_samples: int):
        self.facts = dict.fromkeys(FIGURES, FigureFacts())
        self.lead = lead_samples
        self.profiles: dict[str, NDArray[np.float64]] = {}  # by system, [2, NUM_BINS]: sums and counts
        self._errors = partial(
            border_errors, chunk_samples=chunk_samples, lead_samples=lead_samples, window_samples=window_samples
        )

    def measure(self, case: Case) -> dict[str, Any]:
        """See `metrics.Metric`."""
        try:
            found = self._errors(case.reference, case.estimate, case.sample_rate)
        except Undefined as error:
            return dict.fromkeys(FIGURES, error)
        total = self.profiles.setdefault(case.system, np.zeros((2, NUM_BINS)))
        total += (found.profile_sums, found.profile_counts)
        return {**{name: getattr(found, name) for name in FIGURES}, "num_borders": found.num_borders}

    def mean_profiles(self) -> dict[str, list[float | None]]:
        """Returns the mean error at each place in the chunk, by system; None where no frame lies."""
        return {
            name: [float(s / c) if c else None for s, c in zip(*total, strict=True)]
            for name, total in self.profiles.items()
        }


class BorderDistances:
    """Fréchet distances of what lies around the borders of chunks, and of what lies between them, as a metric."""

    def __init__(self, embedder: Embedder, chunk_samples: int, lead_samples: int):
        self.facts: dict[str, FigureFacts] = {}
        self.sets = {side: ReconstructionSets(embedder) for side in SIDES}
        self._split = partial(split_at_borders, chunk_samples=chunk_samples, lead_samples=lead_samples)
        self._references: set[str] = set()  # files whose original was added

    def measure(self, case: Case) -> dict[str, Any]:
        """See `metrics.Metric`; a single file has no figure."""
        try:
            originals, made = self._split(case.reference), self._split(case.estimate)
        except Undefined:
            return {}
        for sets, original, estimate in zip(self.sets.values(), originals, made, strict=True):
            if case.item.name not in self._references:
                sets.add_reference(original, case.sample_rate)
            sets.add(case.system, case.item.name, estimate, case.sample_rate)
        self._references.add(case.item.name)
        return {}

    def add_to(self, table: ResultsTable) -> None:
        """Adds the two distances of each system, with what makes them unreliable."""
        for side, sets in self.sets.items():
            sets.figure = f"{sets.figure}_{side}"
            sets.add_to(table)
            table.warnings += frechet_warnings(table.facts.pop("frechet"))
            sets.close()


def boundaries_experiment(setup: Setup) -> Findings:
    """Measures errors near borders and elsewhere, by each stream and, where the codec has several, decoding mode.

    Raises:
        ValueError: chunks too short for the window.
        Undefined: no file that could be read holds a border.
    """
    config, spec = setup.config, setup.tokenizer.spec
    window = 2 * max(8, round(config.window_s * spec.sample_rate / 2))
    if spec.chunk_samples <= window:
        raise ValueError(
            f"chunks of {spec.name} are {spec.chunk_samples} samples, the window of {config.window_s} s is {window}: "
            "nothing lies between two borders; take a shorter window_s"
        )
    metric = BorderMetric(spec.chunk_samples, int(getattr(setup.tokenizer, "lead_samples", 0)), window)
    modes = {mode: {"mode": mode} for mode in MODES}
    choose = setup.decode_takes("mode") and "mode" not in config.options
    distances = None if setup.embedder is None else BorderDistances(setup.embedder, spec.chunk_samples, metric.lead)
    metrics: list[Metric] = [metric] if distances is None else [metric, distances]
    table = setup.measure(modes if choose else None, figures=("mel_distance",), metrics=metrics)
    del table.figures["mel_distance"]
    width_s = spec.chunk_samples / spec.sample_rate
    if not metric.profiles:
        raise Undefined(f"not one file is longer than a chunk of {width_s:.2f} s")
    if distances is not None:
        distances.add_to(table)
    place_s = [((number + 0.5) / NUM_BINS - 0.5) * width_s for number in range(NUM_BINS)]
    profiles = metric.mean_profiles()
    table.facts |= {"window_samples": window, "place_s": place_s, "profiles": profiles}
    _count_borders(table)
    facts = table.systems.values()
    leading = {"system": list(table.systems), "borders": [one["num_borders"] for one in facts]}
    caption = f"means and {config.confidence:.0%} intervals"
    title = setup.plot_title(table, intervals=False)
    return Findings(
        name="boundaries",
        title=setup.page_title("boundaries"),
        table=table,
        columns=(*COLUMNS, *(f"{name}{end}" for name in table.figures if name not in FIGURES for end in ENDS)),
        rows=[row | table.systems[row["system"]] for row in summary_records(table)],
        grids=[comparison(table, leading=leading, transpose=False, caption=caption)],
        draw=partial(boundaries_png, place_s=place_s, profiles=profiles, title=title),
    )


def _count_borders(table: ResultsTable) -> None:
    """Facts of each system: how many files hold a border, and how many borders they hold."""
    for system, facts in table.systems.items():
        counts = [row.value for row in table.select(system, "num_borders")]
        facts |= {"num_files": len(counts), "num_borders": sum(int(count or 0) for count in counts)}
