"""All figures of a codec's reconstructions, per file, in means with intervals and over bins of lengths."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

from ....core.device import pick_device
from ..sets.sources import choose_items
from .codec_result import KEYS, ReconstructionResult
from .config import ExperimentConfig
from .evaluate import FileMetric, evaluate_tokenizer, original
from .figures.catalog import figure_heading
from .figures.speech import SpeechMetrics
from .figures.speech_models import load_opinion_predictor, load_speaker, load_transcriber
from .figures.tokens import FEW_TOKENS, too_few_tokens
from .players import ORIGINAL, Players
from .plots import lengths_png
from .result import ExperimentResult, Row, Table, with_interval
from .setup import Setup

DRAWN = ("mel_distance", "stft_distance", "si_sdr_db", "pesq_wb", "stoi", "wer")  # over lengths, as TAAE's A.6


def reconstruction_experiment(setup: Setup, progress: Callable[[int, int], None] | None = None) -> ExperimentResult:
    """Every figure of the config on every file, by each stream: a row a file and system.

    With speech models the originals themselves are a system too (`original`): its word error rate and opinion score
    are what a perfect codec would reach.

    Raises:
        AudioError: no file could be read.
        CheckpointError, ImportError: a speech model that cannot be loaded.
    """
    config = setup.config
    speech = speech_metrics(config)
    shown: list[Any] = choose_items(list[Any](setup.items), config.num_players) if config.output is not None else []
    players = Players(shown, config.player_s)
    result = evaluate_tokenizer(
        setup.tokenizer,
        setup.items,
        streams=setup.streams,
        options={"": config.options},
        baselines={ORIGINAL: original} if speech else None,
        figures=config.figures,
        metrics=[*speech, players],
        embedder=setup.embedder,
        seed=config.seed,
        max_duration_s=config.max_duration_s,
        progress=progress,
    )
    options: dict[str, Any] = {"confidence": config.confidence, "seed": config.seed}
    summary, by_length = result.summary(**options), result.by_length(config.length_edges_s, **options)
    frechet = None if result.frechet is None else result.frechet | {"intervals": result.frechet_intervals(**options)}
    drawn = [name for name in DRAWN if name in result.figures]
    return ExperimentResult(
        name="reconstruction",
        columns=(*KEYS, *result.figures),
        rows=result.rows,
        tables=[
            _figures_table(result, summary, frechet, config.confidence),
            _lengths_table(by_length, drawn),
            _codec_table(result.codec or {}),
        ],
        facts=setup.facts(result) | {"summary": summary, "by_length": by_length, "frechet": frechet},
        warnings=setup.warnings(result) + [FEW_TOKENS] * too_few_tokens((result.codec or {}).get("tokens")),
        draw=partial(lengths_png, bins=by_length, figures=drawn, title=setup.title(result)) if drawn else None,
        players=players.rows(result.systems),
    )


def speech_metrics(config: ExperimentConfig) -> list[FileMetric]:
    """The speech figures that the config asks for, their models loaded; empty for none."""
    if config.transcriber is None and config.speaker is None and not config.opinion:
        return []
    device = pick_device(config.device)
    return [
        SpeechMetrics(
            transcriber=None
            if config.transcriber is None
            else load_transcriber(config.transcriber, language=config.language, device=device),
            speaker=None if config.speaker is None else load_speaker(config.speaker, device=device),
            opinion=load_opinion_predictor(device=device) if config.opinion else None,
            language=config.language,
            text=config.text,
        )
    ]


def _figures_table(
    result: ReconstructionResult, summary: list[Row], frechet: dict[str, Any] | None, confidence: float
) -> Table:
    """A row a figure, a column a system."""
    rows: list[list[Any]] = [
        [figure_heading(name), *(with_interval(*map(row[name].get, ("mean", "low", "high"))) for row in summary)]
        for name in result.figures
    ]
    if frechet is not None:
        values, ends = frechet["values"], frechet["intervals"]
        cells = (with_interval(values[row["system"]], *ends[row["system"]]) for row in summary)
        rows.append([f"{frechet['metric']} ↓", *cells])
    return Table(
        caption=f"means and {confidence:.0%} intervals",
        columns=("figure", *(row["system"] for row in summary)),
        rows=rows,
    )


def _lengths_table(by_length: list[Row], figures: list[str]) -> Table:
    """A row a system and bin; bins without a file are named in the caption."""
    empty = dict.fromkeys(_length(row) for row in by_length if not row["num_files"])
    return Table(
        caption="means by length" + (f"; no file of {', '.join(empty)}" if empty else ""),
        columns=("length", "system", "files", *map(figure_heading, figures)),
        rows=[
            [_length(row), row["system"], row["num_files"], *(row[name]["mean"] for name in figures)]
            for row in by_length
            if row["num_files"]
        ],
    )


def _length(row: Row) -> str:
    return f"{row['from_s']:g}+ s" if row["to_s"] is None else f"{row['from_s']:g}-{row['to_s']:g} s"


def _codec_table(codec: dict[str, Any]) -> Table:
    """Rates of the codec, and how much its tokens carry."""
    rows = [
        ["audio", f"{codec['sample_rate']} Hz, {codec['channels']} channels"],
        ["latents", f"{codec['latent_rate_hz']:.4g} Hz of {codec['latent_dim']} dims"],
    ]
    if "bitrate_bps" in codec:
        rows += [
            ["tokens per second", f"{codec['tokens_per_second']:.4g}"],
            ["tokens per frame", f"{codec['tokens_per_frame']}"],
            ["bit rate, log2 of the codebooks", f"{codec['bitrate_bps']:.1f} bit/s"],
            ["bit rate, whole bits a token", f"{codec['packed_bitrate_bps']:.1f} bit/s"],
        ]
    if "tokens" in codec:
        books = codec["tokens"]["codebooks"]
        entropies = [f"{book['entropy_bits']:.2f} of {math.log2(book['size']):.2f}" for book in books]
        rows += [
            ["bit rate by entropy of these files", f"{codec['tokens']['entropy_bitrate_bps']:.1f} bit/s"],
            ["entropy of each codebook, bits", ", ".join(entropies)],
            ["entries used", ", ".join(f"{book['num_used']} of {book['size']}" for book in books)],
        ]
    return Table(caption="codec", columns=(codec["name"], ""), rows=rows)
