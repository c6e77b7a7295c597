"""The commands of channel experiments: `latentune robustness` and `latentune probe`."""

from __future__ import annotations

from typing import Annotated

import typer

from .tools import Config, Device, Json, Overrides, Seed, Tokenizer, make_config, progress_bar, show


def robustness(
    overrides: Overrides = None,
    config: Config = None,
    tokenizer: Tokenizer = None,
    audio: Annotated[str | None, typer.Option(help="File, folder or manifest to send.", show_default=False)] = None,
    output: Annotated[str | None, typer.Option("--output", "-o", help="Folder for CSV, JSON and plot.")] = None,
    channel: Annotated[
        str | None, typer.Option(help="bsc (the default), erasure, gilbert-elliott or packet.", show_default=False)
    ] = None,
    p: Annotated[
        list[float] | None, typer.Option("--p", help="Probability of damage; repeatable. By default 0.001 to 0.1.")
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(help="Channels drawn at each p; by default 3.", show_default=False)
    ] = None,
    seed: Seed = None,
    labelling: Annotated[
        list[str] | None, typer.Option(help="natural (the default), gray or index; repeatable.", show_default=False)
    ] = None,
    soft: Annotated[bool, typer.Option("--soft", help="Also decode the mean of what may have been sent.")] = False,
    prior_audio: Annotated[
        str | None, typer.Option(help="Audio whose level counts are a prior of --soft.", show_default=False)
    ] = None,
    rvq_audio: Annotated[
        str | None, typer.Option(help="Audio to fit an RVQ on, for comparison.", show_default=False)
    ] = None,
    max_files: Annotated[int | None, typer.Option(help="At most this many files.", show_default=False)] = None,
    max_duration_s: Annotated[float | None, typer.Option(help="Of each file.", show_default=False)] = None,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Measure what a damaging channel does to a codec's tokens.

    Further keys: burst_bits, packet_chunks, concealments, rvq_codebooks, rvq_codebook_size, metrics, options.
    """
    from rich.console import Console

    from ..measure.channel.config import RobustnessConfig
    from ..measure.channel.experiment import run_robustness
    from ..measure.channel.result import render

    given = {
        "tokenizer": tokenizer,
        "audio": audio,
        "output": output,
        "channel": channel,
        "p": p,
        "seeds": seeds,
        "seed": seed,
        "labellings": labelling,
        "soft": soft or None,
        "prior_audio": prior_audio,
        "rvq_audio": rvq_audio,
        "max_files": max_files,
        "max_duration_s": max_duration_s,
        "device": device,
    }
    settings = make_config(RobustnessConfig, config, overrides, given)
    with progress_bar("measuring") as update:
        result = run_robustness(settings, progress=update)
    if as_json:
        show(result.to_dict(), True, "")
    else:
        Console().print(render(result))
        if settings.output is not None:
            show({}, False, f"{settings.output}: robustness.csv, estimates.csv, robustness.json, robustness.png")


def probe(
    first: Annotated[str, typer.Argument(help="A tokenizer: shipped name, folder, or hub id.")],
    second: Annotated[str, typer.Argument(help="Another with the same FSQ, such as a distilled one.")],
    audio: Annotated[str, typer.Argument(help="File, folder or manifest that both encode.")],
    output: Annotated[str, typer.Argument(help="Folder for locality.json and locality.png.")],
    max_duration_s: Annotated[float | None, typer.Option(help="Of each file.", show_default=False)] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")] = "auto",
    as_json: Json = False,
) -> None:
    """Compare the tokens of two encoders that share a quantiser."""
    from ...core.device import pick_device
    from ...core.figures import can_draw
    from ...core.files import write_json
    from ...core.outputs import prepare_output
    from ...tokenizers.load import load_tokenizer
    from ..measure.channel.plots import locality_png
    from ..measure.channel.probe import probe_encoders

    folder = prepare_output(output)
    place = pick_device(device)
    one, other = (load_tokenizer(name).to(place) for name in (first, second))
    with progress_bar("encoding") as update:
        result = probe_encoders(one, other, audio, max_duration_s=max_duration_s, progress=update)
    write_json(folder / "locality.json", result.to_dict())
    if can_draw("plots"):
        locality_png(folder / "locality.png", result)
    show(result.to_dict(), as_json, f"{result.summary()}; {len(result.failures)} files left out; see {folder}")
