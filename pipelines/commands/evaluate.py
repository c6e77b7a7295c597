"""The command `latentune evaluate`: systems' audio beside real audio, or a tokenizer's reconstructions."""

from __future__ import annotations

import re
from typing import Annotated, Any

import typer

from ...core.errors import ConfigError
from .experiment import measure_codec
from .tools import Config, Device, Json, Tokenizer, make_config, progress_bar, show

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
        str | None, typer.Option(help="auto, musicnn, yamnet, clap, clap_fusion, vggish, encodec.", show_default=False)
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
            "--output", "-o", help="JSON file; with --tokenizer a folder, for JSON, CSV and HTML.", show_default=False
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
        list[str] | None,
        typer.Option(help="With --tokenizer: only this, such as pesq_wb; repeatable.", show_default=False),
    ] = None,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Compare sets of audio, or measure a codec's reconstructions (--tokenizer NAME --audio PATH).

    KEY=VALUE and --config take the keys of EvaluateConfig; with --tokenizer those of ExperimentConfig, such as
    max_files=100 or, for speech, transcriber=FOLDER, speaker=ecapa, opinion=true.
    """
    sources = [text for text in arguments or [] if not OVERRIDE.match(text)]
    overrides = [text for text in arguments or [] if OVERRIDE.match(text)]
    of_codec = {"--tokenizer": tokenizer, "--audio": audio, "--figure": figure}
    of_sets = {"a source": sources, "--metric": metric, "--name": name, "--save-statistics": save_statistics}
    of_sets |= {"--csv": csv, "--html": html, "--cache": cache, "--engine": engine}
    if any(of_codec.values()):
        wrong = [option for option, value in of_sets.items() if value]
        if tokenizer is None or audio is None or wrong:
            raise ConfigError(
                "--tokenizer NAME and --audio PATH go together, to measure a codec"
                + (f"; {', '.join(wrong)} cannot be given then (CSV, HTML and JSON go to --output)" if wrong else "")
            )
        from ..measure.codecs.config import ExperimentConfig

        given: dict[str, Any] = {
            "audio": audio,
            "tokenizer": tokenizer,
            "figures": figure,
            "embedder": embedder,
            "checkpoint": checkpoint or clap_checkpoint,
            "output": result_file,
            "device": device,
        }
        measure_codec("reconstruction", make_config(ExperimentConfig, config, overrides, given), as_json)
        return
    from ..evaluate import EvaluateConfig
    from ..evaluate import evaluate as run
    from ..measure.sets.views import evaluation_text

    given = {
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
    show(result.to_dict(), as_json, evaluation_text(result))
