"""The command of experiments on a codec: `latentune experiment`."""

from __future__ import annotations

from typing import Annotated

import typer

from .cli_tools import Config, Device, Json, Overrides, Seed, Tokenizer, make_config, progress_bar, show


def experiment(
    name: Annotated[str, typer.Argument(help="reconstruction, steps, gap or boundaries.")],
    audio: Annotated[str, typer.Argument(help="File, folder or manifest to encode and decode.")],
    overrides: Overrides = None,
    config: Config = None,
    tokenizer: Tokenizer = None,
    output: Annotated[
        str | None, typer.Option("--output", "-o", help="Folder for CSV, JSON and plot.", show_default=False)
    ] = None,
    embedder: Annotated[str | None, typer.Option(help="Of the Fréchet distance, or none.", show_default=False)] = None,
    max_files: Annotated[int | None, typer.Option(help="At most this many files.", show_default=False)] = None,
    max_duration_s: Annotated[float | None, typer.Option(help="Of each file.", show_default=False)] = None,
    transcriber: Annotated[
        str | None, typer.Option(help="Folder or hub id of a Whisper, for WER.", show_default=False)
    ] = None,
    speaker: Annotated[
        str | None, typer.Option(help="ecapa, or folder or hub id, for speaker similarity.", show_default=False)
    ] = None,
    opinion: Annotated[bool, typer.Option("--opinion", help="Predict the mean opinion score.")] = False,
    seed: Seed = None,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Measure a codec: all figures of its reconstructions, its decoding steps, its quantiser's cost, its borders."""
    from rich.console import Console

    from .experiments.config import ExperimentConfig
    from .experiments.run import render, run_experiment

    given = {
        "audio": audio,
        "tokenizer": tokenizer,
        "output": output,
        "embedder": embedder,
        "max_files": max_files,
        "max_duration_s": max_duration_s,
        "transcriber": transcriber,
        "speaker": speaker,
        "opinion": opinion or None,
        "seed": seed,
        "device": device,
    }
    settings = make_config(ExperimentConfig, config, overrides, given)
    with progress_bar("measuring") as update:
        result = run_experiment(name, settings, progress=update)
    if as_json:
        show(result.to_dict(), True, "")
    else:
        Console().print(render(result))
        if settings.output is not None:
            show({}, False, f"{settings.output}: {name}.csv, {name}.json, {name}.png")
