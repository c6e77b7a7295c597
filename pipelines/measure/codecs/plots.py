"""Pictures of the experiments on a codec."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from ....core.figures import new_figure, save_png
from ..results import FigureFacts, ResultsTable

PANEL_INCHES = (4.4, 3.4)
PANELS_PER_ROW = 4
STYLES = ("-", "--", "-.", ":")  # lines of several systems often overlap
APART = 0.12  # of the points of two systems in one bin


def figure_title(name: str, facts: FigureFacts) -> str:
    """Returns a figure in words, with its unit."""
    title = facts.title or name
    return f"{title} ({facts.unit})" if facts.unit else title


def steps_png(
    target: str | Path | BinaryIO, *, rows: Sequence[Mapping[str, Any]], title: str, metric: str | None
) -> None:
    """Draws the mel distance with its interval, and the Fréchet distance where there is one, over the steps.

    Args:
        target: a path, or a binary file.
        rows: of the CSV of the experiment.
        title: of the plot.
        metric: name of the Fréchet distance, if there is one.
    """
    panels = [("mel_distance", "mel distance")] + ([("fad", metric)] if metric else [])
    figure = new_figure(PANEL_INCHES[0] * len(panels), PANEL_INCHES[1])
    for axes, (key, label) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        for number, stream in enumerate(dict.fromkeys(row["stream"] for row in rows)):
            points = [row for row in rows if row["stream"] == stream and row[key] is not None]
            x = [row["steps"] for row in points]
            axes.plot(x, [row[key] for row in points], f"C{number}o{STYLES[number]}", markersize=3, label=stream)
            if points and points[0].get(f"{key}_low") is not None:
                low, high = ([row[f"{key}_{side}"] for row in points] for side in ("low", "high"))
                axes.fill_between(x, low, high, color=f"C{number}", alpha=0.15, linewidth=0)
        axes.set(xlabel="decoding steps", ylabel=label, xticks=sorted({row["steps"] for row in rows}))
        axes.grid(alpha=0.3)
        axes.legend()
    figure.suptitle(title)
    save_png(figure, target)


def gap_png(target: str | Path | BinaryIO, *, rows: Sequence[Mapping[str, Any]], title: str) -> None:
    """Draws each figure by latents and by tokens, one panel per figure; below it their paired difference.

    Args:
        target: a path, or a binary file.
        rows: of the CSV of the experiment.
        title: of the plot.
    """
    columns = min(PANELS_PER_ROW, len(rows))
    lines = -(-len(rows) // columns)
    figure = new_figure(2.4 * columns, 2.5 * lines + 0.4)
    grid = figure.subplots(lines, columns, squeeze=False).flatten()
    for axes, row in zip(grid, rows, strict=False):
        for place, stream in enumerate(("latents", "tokens")):
            value, low, high = (row.get(f"{stream}{end}") for end in ("", "_low", "_high"))
            spread = None if low is None or high is None else [[max(0.0, value - low)], [max(0.0, high - value)]]
            axes.errorbar([place], [value], yerr=spread, marker="o", capsize=4, color=f"C{place}")
        ends = row.get("difference_low"), row.get("difference_high")
        below = "" if None in ends else "\n[{:.2g}, {:.2g}]".format(*ends)
        axes.set(xticks=(0, 1), xlim=(-0.5, 1.5), xticklabels=("latents", "tokens"))
        axes.set_title(row["title"], fontsize="small")
        axes.set_xlabel(f"tokens - latents: {row['difference']:.2g}{below}", fontsize="x-small")
        axes.ticklabel_format(axis="y", useOffset=False)
        axes.grid(alpha=0.3, axis="y")
    for axes in grid[len(rows) :]:
        axes.set_axis_off()
    figure.suptitle(title)
    save_png(figure, target)


def lengths_png(
    target: str | Path | BinaryIO, *, bins: Sequence[Mapping[str, Any]], figures: Mapping[str, FigureFacts], title: str
) -> None:
    """Draws figures with their intervals over groups of lengths, one panel per figure.

    Args:
        target: a path, or a binary file.
        bins: of `lengths.by_length`.
        figures: drawn, by name.
        title: of the plot.
    """
    columns = min(3, len(figures))
    lines = -(-len(figures) // columns)
    figure = new_figure(3.4 * columns, 2.8 * lines + 0.4)
    grid = figure.subplots(lines, columns, squeeze=False).flatten()
    ends = sorted({(row["from_s"], row["to_s"] or float("inf")) for row in bins})
    counts = {(row["from_s"], row["to_s"] or float("inf")): row["num_files"] for row in bins}
    names = (f"{low:g}+" if high == float("inf") else f"{low:g}-{high:g}" for low, high in ends)
    labels = [f"{name}\n{counts[end]}" for name, end in zip(names, ends, strict=True)]
    for axes, (name, facts) in zip(grid, figures.items(), strict=False):
        systems = list(dict.fromkeys(row["system"] for row in bins))
        for number, system in enumerate(systems):
            rows = [row for row in bins if row["system"] == system and row[name]["mean"] is not None]
            shift = APART * (number - (len(systems) - 1) / 2)
            places = [ends.index((row["from_s"], row["to_s"] or float("inf"))) + shift for row in rows]
            means = [row[name]["mean"] for row in rows]
            low, high = ([row[name][side] for row in rows] for side in ("low", "high"))
            spread = [
                [0.0 if v is None else max(0.0, m - v) for m, v in zip(means, low, strict=True)],
                [0.0 if v is None else max(0.0, v - m) for m, v in zip(means, high, strict=True)],
            ]
            axes.errorbar(places, means, yerr=spread, fmt=f"C{number}o-", markersize=4, capsize=3, label=system)
        axes.set(xlabel="length (s), number of files", ylabel=figure_title(name, facts), xlim=(-0.5, len(labels) - 0.5))
        axes.set_xticks(range(len(labels)), labels, fontsize="x-small")
        axes.grid(alpha=0.3)
    for axes in grid[len(figures) :]:
        axes.set_axis_off()
    grid[0].legend(fontsize="small")
    figure.suptitle(title)
    save_png(figure, target)


def rates_png(target: str | Path | BinaryIO, *, table: ResultsTable, figures: Sequence[str], title: str) -> None:
    """Draws figures over the bit rate, one line per kind of quantizer; the unquantized latents are dashed.

    Args:
        target: a path, or a binary file.
        table: whose systems have the facts `quantizer` and `bitrate_bps`, but for `latents`.
        figures: drawn, by name.
        title: of the plot.
    """
    columns = min(3, len(figures))
    lines = -(-len(figures) // columns)
    figure = new_figure(PANEL_INCHES[0] * columns, PANEL_INCHES[1] * lines)
    grid = figure.subplots(lines, columns, squeeze=False).flatten()
    kinds = dict.fromkeys(facts["quantizer"] for facts in table.systems.values() if "quantizer" in facts)
    for axes, name in zip(grid, figures, strict=False):
        for number, kind in enumerate(kinds):
            systems = [
                (one, facts["bitrate_bps"]) for one, facts in table.systems.items() if facts.get("quantizer") == kind
            ]
            points = sorted(
                (rate, found) for one, rate in systems if (found := table.estimate(one, name).value) is not None
            )
            axes.plot(*zip(*points, strict=True) if points else ((), ()), f"C{number}o-", markersize=4, label=kind)
        if "latents" in table.systems and (clean := table.estimate("latents", name).value) is not None:
            axes.axhline(clean, color="0.4", linestyle="--", linewidth=1, label="latents")
        axes.set(xscale="log", xlabel="bit rate (bit/s)", ylabel=figure_title(name, table.figures[name]))
        axes.grid(alpha=0.3)
    for axes in grid[len(figures) :]:
        axes.set_axis_off()
    grid[0].legend(fontsize="small")
    figure.suptitle(title)
    save_png(figure, target)


def histograms_png(
    target: str | Path | BinaryIO, *, places: Sequence[float], densities: Mapping[str, Sequence[float]]
) -> None:
    """Draws the density of the values in [-1, 1], one panel per codec.

    Args:
        target: a path, or a binary file.
        places: middle of each bin.
        densities: of each codec, by name.
    """
    figure = new_figure(8.0, 1.8 * len(densities) + 0.4)
    panels = figure.subplots(len(densities), 1, sharex=True, squeeze=False).flatten()
    for axes, (name, density) in zip(panels, densities.items(), strict=True):
        axes.fill_between(places, density, step="mid", linewidth=0)
        axes.set_title(name, fontsize="small")
        axes.set(ylabel="density", xlim=(-1, 1))
        axes.grid(alpha=0.3)
    panels[-1].set_xlabel("value of a latent before rounding")
    save_png(figure, target)


def memory_png(target: str | Path | BinaryIO, *, rows: Sequence[Mapping[str, Any]]) -> None:
    """Draws the peak memory over the length of the audio, one line per operation.

    Args:
        target: a path, or a binary file.
        rows: of the CSV of the experiment.
    """
    figure = new_figure(5.0, 3.4)
    axes = figure.subplots()
    for number, operation in enumerate(dict.fromkeys(row["operation"] for row in rows)):
        points = [row for row in rows if row["operation"] == operation and row["peak_mib"] is not None]
        x, y = ([row[key] for row in points] for key in ("seconds", "peak_mib"))
        axes.plot(x, y, f"C{number}o{STYLES[number]}", markersize=3, label=operation)
    axes.set(xlabel="length of the audio (s)", ylabel="peak memory (MiB)", ylim=(0, None))
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    save_png(figure, target)


def boundaries_png(
    target: str | Path | BinaryIO,
    *,
    place_s: Sequence[float],
    profiles: Mapping[str, Sequence[float | None]],
    title: str,
) -> None:
    """Draws the mean error over the place in a chunk, one line per system; the border is at 0.

    Args:
        target: a path, or a binary file.
        place_s: time from the border of each bin.
        profiles: errors of each system; None leaves a gap.
        title: of the plot.
    """
    figure = new_figure(8.0, 3.4)
    axes = figure.subplots()
    for number, (name, values) in enumerate(profiles.items()):
        level = [float("nan") if v is None else v for v in values]
        axes.plot(place_s, level, STYLES[number % len(STYLES)], label=name, linewidth=1.2)
    axes.axvline(0.0, color="0.5", linestyle="--", linewidth=1)
    axes.set(xlabel="time from the border of two chunks (s)", ylabel="log mel error of a frame", title=title)
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    save_png(figure, target)
