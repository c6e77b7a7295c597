"""All figures of a codec's reconstructions, per file, as means with intervals, and over groups of files.

This is what `latentune evaluate --tokenizer` measures.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

from ....core.errors import ConfigError
from ...data.audio.find import choose_items
from ..results import Grid, ResultsTable, heading, interval_text, records
from ..results.findings import Findings
from .figures.tokens import FEW_TOKENS, too_few_tokens
from .groups import Group, by_value, column_values, values_grid
from .lengths import SECONDS, by_length, lengths_grid
from .mushra import write_mushra
from .players import Players
from .plots import lengths_png
from .published import published_codecs
from .references import UNTRAINED, reference_systems
from .setup import Setup, is_stream
from .speech_metrics import load_speech_metrics
from .systems import untrained

DRAWN = ("mel_distance", "estoi", "si_sdr_db", "pesq_wb", "stoi", "wer")  # over lengths, as TAAE's appendix A.6 does


def reconstruction_experiment(setup: Setup) -> Findings:
    """Measures every figure of the config on every file, by each stream and reference system.

    Raises:
        AudioError: no file could be read.
        ConfigError: no file has the column of `group_by`.
        CheckpointError, ImportError: a speech model that cannot be loaded.
    """
    config = setup.config
    values = None if config.group_by is None else column_values(setup.items, config.group_by)
    shown = choose_items(setup.items, config.num_players) if config.output is not None else []
    players = Players(shown, config.player_s)
    speech = load_speech_metrics(config)
    baselines, absent = reference_systems([name for name in config.references if name != UNTRAINED])
    others = published_codecs(config.others, setup.tokenizer.device)
    if both := baselines.keys() & others.keys():
        raise ConfigError(f"two systems are called {sorted(both)[0]!r}: give the codec in others another name")
    table = setup.measure(
        baselines={**baselines, **others},
        untrained=untrained(setup.tokenizer, config.seed) if UNTRAINED in config.references else None,
        figures=config.figures,
        metrics=[players] if speech is None else [speech, players],
        embedder=setup.embedder,
    )
    codec = table.facts["codec"]
    table.warnings[:0] = [f"{name}: left out, {reason}" for name, reason in absent.items()]
    table.warnings += [FEW_TOKENS] * too_few_tokens(codec.get("tokens"))
    table.facts |= {"absent_references": absent, "by_length": by_length(table, config.length_edges_s)}
    if others:
        table.facts["others"] = {name: other.facts() for name, other in others.items()}
    if values is not None:
        table.facts["by_value"] = by_value(table, values)
    if config.mushra and config.output is not None:
        write_mushra(config.output, players.rows(), setup.page_title("listening test"))
    drawn = [name for name in DRAWN if name in table.figures]
    of_files = [name for name in table.figures if not name.startswith("fad_")]
    return Findings(
        name="reconstruction",
        title=setup.page_title("reconstruction"),
        table=table,
        columns=("system", "file", SECONDS, *of_files),
        rows=records(table),
        grids=[
            *_figure_grids(table, config.confidence),
            lengths_grid(_own_groups(table), {name: table.figures[name] for name in drawn}),
            *_value_grids(table, config.group_by, of_files),
            codec_grid(codec),
        ],
        draw=_draw_lengths(setup, table, drawn) if drawn else None,
        players=players.rows(),
    )


def _figure_grids(table: ResultsTable, confidence: float) -> list[Grid]:
    """The codec's own figures with intervals, one column per stream; then the means of the reference systems."""
    own = [name for name in table.systems if is_stream(name)]
    references = [name for name in table.systems if name not in own]
    heads = [heading(name, facts) for name, facts in table.figures.items()]
    cells = [[interval_text(table.estimate(system, name)) for system in own] for name in table.figures]
    rows: list[list[Any]] = [[head, *row] for head, row in zip(heads, cells, strict=True)]
    grids = [Grid(caption=f"means and {confidence:.0%} intervals", columns=("figure", *own), rows=rows)]
    if references:
        values = [[_short(table.estimate(system, name).value) for system in references] for name in table.figures]
        rows = [[head, *row] for head, row in zip(heads, values, strict=True)]
        grids.append(Grid(caption="reference systems, means", columns=("figure", *references), rows=rows))
    return grids


def _value_grids(table: ResultsTable, column: str | None, figures: list[str]) -> list[Grid]:
    """The means of the codec's own streams by the values of a column, if one was asked for."""
    if column is None:
        return []
    groups = [row for row in table.facts["by_value"] if is_stream(row["system"])]
    return [values_grid(groups, column, {name: table.figures[name] for name in figures})]


def _own_groups(table: ResultsTable) -> list[Group]:
    """The means by length of the codec's own streams."""
    return [row for row in table.facts["by_length"] if is_stream(row["system"])]


def _short(value: float | None) -> str:
    """A mean as a cell of a table with many columns."""
    if value is None:
        return "-"
    return f"{value:.3g}" if abs(value) >= 10 else f"{round(value, 3) + 0.0:g}"


def _draw_lengths(setup: Setup, table: ResultsTable, figures: list[str]) -> partial[None]:
    titles = {name: table.figures[name] for name in figures}
    return partial(lengths_png, bins=_own_groups(table), figures=titles, title=setup.plot_title(table))


def codec_grid(codec: dict[str, Any]) -> Grid:
    """Returns the rates of the codec, and how much its tokens carry."""
    rows = [
        ["audio", f"{codec['sample_rate']} Hz, {codec['channels']} channels"],
        ["latents", f"{codec['latent_rate_hz']:.4g} Hz of {codec['latent_dim']} dims"],
    ]
    if "bitrate_bps" in codec:
        rows += [
            ["tokens per second", f"{codec['tokens_per_second']:.4g}"],
            ["tokens per frame", f"{codec['tokens_per_frame']}"],
            ["bit rate, log2 of the codebooks", f"{codec['bitrate_bps']:.1f} bit/s"],
            ["bit rate, whole bits per token", f"{codec['packed_bitrate_bps']:.1f} bit/s"],
        ]
    if "tokens" in codec:
        books = codec["tokens"]["codebooks"]
        entropies = [f"{book['entropy_bits']:.2f} of {math.log2(book['size']):.2f}" for book in books]
        used = [f"{book['num_used']} of {book['size']} ({book['used_share']:.1%})" for book in books]
        rows += [
            ["bit rate by entropy of these files", f"{codec['tokens']['entropy_bitrate_bps']:.1f} bit/s"],
            ["entropy of each codebook, bits", ", ".join(entropies)],
            ["entries used", ", ".join(used)],
        ]
    return Grid(caption="codec", columns=(codec["name"], ""), rows=rows)
