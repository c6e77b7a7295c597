"""The command of experiments on a codec: `latentune experiment`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from .tools import Config, Device, Json, Overrides, Seed, Tokenizer, make_config, progress_bar, show

if TYPE_CHECKING:
    from ..measure.codecs.config import ExperimentConfig


def experiment(
    name: Annotated[str, typer.Argument(help="steps, gap, boundaries or reconstruction.")],
    audio: Annotated[str, typer.Argument(help="File, folder or manifest to encode and decode.")],
    overrides: Overrides = None,
    config: Config = None,
    tokenizer: Tokenizer = None,
    output: Annotated[
        str | None, typer.Option("--output", "-o", help="Folder for CSV, JSON, HTML and plot.", show_default=False)
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
    """Measure a codec: its decoding steps, its quantiser's cost, its borders; `reconstruction` as evaluate does."""
    from ..measure.codecs.config import ExperimentConfig

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
    measure_codec(name, make_config(ExperimentConfig, config, overrides, given), as_json)


def measure_codec(name: str, settings: ExperimentConfig, as_json: bool) -> None:
    """Run an experiment and print what came out."""
    from rich.console import Console

    from ..measure.codecs.run import run_experiment

    with progress_bar("measuring") as update:
        result = run_experiment(name, settings, progress=update)
    if as_json:
        show(result.to_dict(), True, "")
        return
    Console().print(result.view())
    if settings.output is not None:
        show({}, False, f"written: {settings.output}/{name}.html, with CSV, JSON and PNG beside it")
