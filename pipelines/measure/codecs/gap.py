"""What quantisation costs: the continuous stream against the discrete one (CoDiCodec's second experiment)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from ....core.errors import ConfigError
from ..results import MIN_FILES
from ..results.intervals import PairedDifference, paired_bootstrap
from .codec_result import ReconstructionResult
from .evaluate import evaluate_tokenizer
from .figures.catalog import PAIR_FIGURES, SPEED_FIGURES, figure_heading, figure_title
from .plots import gap_png
from .result import ExperimentResult, Row, Table, row_cell
from .setup import Setup

COLUMNS = (
    *("figure", "better", "unit", "num_files"),
    *(f"{stream}{end}" for stream in ("latents", "tokens") for end in ("", "_low", "_high")),
    *("difference", "difference_low", "difference_high", "p_value"),
)


def gap_experiment(setup: Setup, progress: Callable[[int, int], None] | None = None) -> ExperimentResult:
    """Each figure by latents and by tokens, and their difference with a paired bootstrap over files.

    Raises:
        ValueError: the codec has no tokens, or the config asks for one stream alone.
        ConfigError: no figure that compares sounds.
    """
    config, codec = setup.config, setup.tokenizer.spec.name
    if set(setup.streams) != {"latents", "tokens"}:
        raise ValueError(
            f"the gap lies between latents and tokens: {codec} was asked for {', '.join(setup.streams)} alone"
        )
    figures = [name for name in config.figures if name not in SPEED_FIGURES]
    if not figures:
        raise ConfigError(f"none of {', '.join(config.figures)} has a gap: take some of {', '.join(PAIR_FIGURES)}")
    result = evaluate_tokenizer(
        setup.tokenizer,
        setup.items,
        options={"": config.options},
        figures=figures,
        embedder=setup.embedder,
        seed=config.seed,
        max_duration_s=config.max_duration_s,
        progress=progress,
    )
    summary = {row["system"]: row for row in result.summary(confidence=config.confidence, seed=config.seed)}
    rows = [_row(name, summary, result, config.confidence, config.seed) for name in result.figures]
    if result.frechet is not None:
        num_files = summary["latents"]["num_files"]
        rows.append(_frechet_row(result, result.frechet, num_files, config.confidence, config.seed))
    table = Table(
        caption=f"means, their difference (tokens less latents) and {config.confidence:.0%} intervals",
        columns=("figure", "latents", "tokens", "difference", "p"),
        rows=[
            [row["heading"], *(row_cell(row, one) for one in ("latents", "tokens", "difference")), row.get("p_value")]
            for row in rows
        ],
    )
    drawn = [row for row in rows if row.get("latents") is not None and row.get("tokens") is not None]
    return ExperimentResult(
        name="gap",
        columns=COLUMNS,
        rows=rows,
        tables=[table],
        facts=setup.facts(result),
        warnings=setup.warnings(result),
        draw=partial(gap_png, rows=drawn, title=setup.title(result)) if drawn else None,
    )


def _frechet_row(
    result: ReconstructionResult, frechet: Mapping[str, Any], num_files: int, confidence: float, seed: int
) -> Row:
    values, name = frechet["values"], frechet["metric"]
    ends = result.frechet_intervals(confidence=confidence, seed=seed)
    row: Row = {"figure": name, "title": name, "heading": f"{name} ↓", "better": "lower", "unit": ""}
    row |= {"num_files": num_files, **values}
    row |= {f"{stream}_low": low for stream, (low, _) in ends.items()}
    row |= {f"{stream}_high": high for stream, (_, high) in ends.items()}
    if None not in values.values():
        row["difference"] = values["tokens"] - values["latents"]
    if (found := result.frechet_difference("latents", "tokens", confidence=confidence, seed=seed)) is not None:
        row |= _with_interval(found, num_files)
    return row


def _with_interval(found: PairedDifference, num_files: int) -> Row:
    return {
        "difference": found.value,
        "difference_low": found.low,
        "difference_high": found.high,
        "p_value": found.p_value if num_files >= MIN_FILES else None,
    }


def _row(figure: str, summary: Mapping[str, Any], result: ReconstructionResult, confidence: float, seed: int) -> Row:
    facts = PAIR_FIGURES[figure]
    row: Row = {
        "figure": figure,
        "title": figure_title(figure),
        "heading": figure_heading(figure),
        "better": facts.better,
        "unit": facts.unit,
    }
    sides: dict[str, dict[str, float]] = {}
    for stream in ("latents", "tokens"):
        found = summary[stream][figure]
        row |= {stream: found["mean"], f"{stream}_low": found["low"], f"{stream}_high": found["high"]}
        sides[stream] = {
            one["file"]: one[figure] for one in result.rows if one["system"] == stream and one[figure] is not None
        }
    both = sides["latents"].keys() & sides["tokens"].keys()
    row["num_files"] = len(both)
    if len(both) >= 2:
        latents, tokens = ({name: sides[stream][name] for name in both} for stream in ("latents", "tokens"))
        found = paired_bootstrap(latents, tokens, confidence=confidence, seed=seed)
        row |= _with_interval(found, len(both))
    elif both:
        row["difference"] = sum(sides["tokens"][name] - sides["latents"][name] for name in both)
    return row
