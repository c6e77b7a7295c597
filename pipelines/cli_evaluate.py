"""The command `latentune evaluate`: systems' audio beside real audio, or a tokenizer's reconstructions."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..tokenizers.parts.errors import ConfigError
from .cli_tools import Config, Device, Json, Tokenizer, make_config, progress_bar, show

if TYPE_CHECKING:
    from .evaluate import EvaluationResult

OVERRIDE = re.compile(r"[A-Za-z_][\w.]*=")  # how a further key of the config begins


def evaluate(
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="REFERENCE SYSTEM [SYSTEM]... [KEY=VALUE]...",
            help="Real audio and that of each system: folder, file, manifest, dataset, or saved statistics.",
            show_default=False,
        ),
    ] = None,
    config: Config = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(
            "--metric",
            "-m",
            help="fad, fad-inf, fad-per-file, kad, kid, prdc, kl, kl-marginal, "
            "audio-similarity or clap-score; repeat, or separate by commas.",
            show_default=False,
        ),
    ] = None,
    name: Annotated[
        list[str] | None, typer.Option("--name", help="Of a system, in order; repeatable.", show_default=False)
    ] = None,
    clap_checkpoint: Annotated[
        str | None, typer.Option(help="laion-clap .pt file or hub id; measure with CLAP.", show_default=False)
    ] = None,
    embedder: Annotated[
        str | None, typer.Option(help="auto, musicnn, yamnet, clap, vggish, encodec.", show_default=False)
    ] = None,
    checkpoint: Annotated[
        str | None, typer.Option(help="Weights of an embedder that ships none.", show_default=False)
    ] = None,
    save_statistics: Annotated[
        str | None, typer.Option(help="Keep the reference's statistics here.", show_default=False)
    ] = None,
    result_file: Annotated[
        str | None,
        typer.Option(
            "--output", "-o", help="JSON file for the result (with --tokenizer a folder).", show_default=False
        ),
    ] = None,
    csv: Annotated[str | None, typer.Option(help="Table of a row a system.", show_default=False)] = None,
    html: Annotated[str | None, typer.Option(help="Page with plots and players.", show_default=False)] = None,
    cache: Annotated[str | None, typer.Option(help="Folder that keeps embeddings.", show_default=False)] = None,
    engine: Annotated[str | None, typer.Option(help="local or ray.", show_default=False)] = None,
    tokenizer: Tokenizer = None,
    audio: Annotated[
        str | None, typer.Option(help="With --tokenizer: audio for it to encode and decode.", show_default=False)
    ] = None,
    figure: Annotated[
        list[str] | None, typer.Option(help="With --tokenizer: such as pesq_wb; repeatable.", show_default=False)
    ] = None,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Compare sets of audio, or measure a tokenizer's reconstructions (--tokenizer NAME --audio PATH)."""
    sources = [text for text in arguments or [] if not OVERRIDE.match(text)]
    overrides = [text for text in arguments or [] if OVERRIDE.match(text)]
    if tokenizer is not None or audio is not None:
        if tokenizer is None or audio is None or sources:
            raise ConfigError("--tokenizer NAME and --audio PATH go together, and with no other source")
        _evaluate_tokenizer(
            tokenizer, audio, figure, embedder, checkpoint or clap_checkpoint, result_file, device, as_json
        )
        return
    from .evaluate import EvaluateConfig
    from .evaluate import evaluate as run

    given: dict[str, Any] = {
        "reference": sources[0] if sources else None,
        "generated": sources[1] if len(sources) > 1 else None,
        "systems": sources[2:],
        "names": name,
        "metrics": [part for text in metric or [] for part in text.split(",") if part],
        "clap_checkpoint": clap_checkpoint,
        "embedder": embedder,
        "checkpoint": checkpoint,
        "save_statistics": save_statistics,
        "output": result_file,
        "csv": csv,
        "html": html,
        "cache_dir": cache,
        "engine": engine,
        "device": device,
    }
    with progress_bar("measuring") as update:
        result = run(
            make_config(EvaluateConfig, config, overrides, given),
            progress=lambda side, done, total: update(done, total, side),
        )
    show(result.to_dict(), as_json, _text(result))


def _text(result: EvaluationResult) -> str:
    """One figure of one system as a line, all else as a table; then the sets and the warnings."""
    first = result.systems[0].figures[0] if result.systems else None
    if len(result.systems) > 1 or len(result.columns) > 1:
        head = [_rendered(result)]
    elif first is not None and first.low is not None and first.high is not None:
        head = [f"{result.metric} {result.value:.6g} [{first.low:.6g}, {first.high:.6g}]"]
    else:
        head = [f"{result.metric} {result.value:.6g}"]
    sides = [("reference", result.reference)]
    if len(result.systems) > 1:
        sides += [(system.name, system.summary) for system in result.systems]
    else:
        sides += [("generated", result.generated)]
    counts = [
        f"{name} {side.num_files} files, {side.num_windows} windows, {len(side.failures)} left out"
        for name, side in sides
    ]
    return "\n".join([*head, *counts, *(f"warning: {text}" for text in result.warnings)])


def _rendered(result: EvaluationResult) -> str:
    from rich.console import Console

    from .evaluation.tables import comparison_table

    console = Console()
    with console.capture() as capture:
        console.print(comparison_table(result))
    return capture.get().strip("\n")


def _evaluate_tokenizer(
    tokenizer: str,
    audio: str,
    figures: list[str] | None,
    embedder: str | None,
    checkpoint: str | None,
    output: str | None,
    device: str | None,
    as_json: bool,
) -> None:
    from ..tokenizers.load import load_tokenizer
    from .encode import pick_device
    from .evaluate import evaluate_tokenizer
    from .metrics.embedders import load_embedder
    from .metrics.figures import SIGNAL_FIGURES
    from .outputs import prepare_output

    folder = None if output is None else prepare_output(output)
    place = pick_device(device or "auto")
    network = load_embedder(embedder or "auto", checkpoint=checkpoint, device=place)
    with progress_bar("measuring") as update:
        result = evaluate_tokenizer(
            load_tokenizer(tokenizer).to(place),
            audio,
            figures=tuple(figures or SIGNAL_FIGURES),
            embedder=network,
            progress=update,
        )
    if folder is not None:
        result.write(Path(folder))
    lines = [
        f"{row['system']}: {row['num_files']} files, "
        + ", ".join(f"{name} {row[name]:.4g}" for name in result.figures if row[name] is not None)
        for row in result.means()
    ]
    distances = (result.frechet or {}).get("values", {})
    lines += [
        f"{name}: {result.frechet['metric']} {value:.4g}"
        for name, value in distances.items()
        if result.frechet is not None and value is not None
    ]
    show(result.to_dict(), as_json, "\n".join(lines))
