"""The command line. Each command parses, calls one function of the library, and prints what came out."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .evaluate import evaluate
from .experiment import experiment
from .robustness import probe, robustness
from .tools import (
    CommandGroup,
    Config,
    Device,
    Json,
    Overrides,
    Seed,
    Tokenizer,
    make_config,
    process_rank,
    progress_bar,
    show,
    start_logging,
)

if TYPE_CHECKING:
    from ..encode import EncodeProgress

app = typer.Typer(
    cls=CommandGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Neural audio codecs and generators trained on what they produce.",
)


def main() -> None:
    """The entry point of the command `latentune`."""
    app()


def _version(wanted: bool) -> None:
    if wanted:
        from ... import __version__

        typer.echo(f"latentune {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log what is done.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    start_logging(verbose or debug)


@app.command()
def encode(
    source: Annotated[str, typer.Argument(help="Folder, audio file, or manifest (.jsonl, .csv, .parquet).")],
    output: Annotated[str, typer.Argument(help="Folder of the dataset; run again to complete it.")],
    overrides: Overrides = None,
    config: Config = None,
    tokenizer: Tokenizer = None,
    device: Device = None,
    max_duration_s: Annotated[float | None, typer.Option(help="Longer files are split.", show_default=False)] = None,
    min_duration_s: Annotated[
        float | None, typer.Option(help="Shorter files are left out.", show_default=False)
    ] = None,
    loudness_lufs: Annotated[
        float | None, typer.Option(help="Bring items to this loudness.", show_default=False)
    ] = None,
    stream: Annotated[
        list[str] | None, typer.Option(help="latents or tokens; repeat for both.", show_default=False)
    ] = None,
    batch_s: Annotated[float | None, typer.Option(help="Seconds of audio encoded at once.", show_default=False)] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Fail if any file could not be encoded.")] = False,
    as_json: Json = False,
) -> None:
    """Encode audio into a dataset of latents and tokens."""
    from ..encode import EncodeConfig, encode_dataset

    rank, world_size = process_rank()
    given = {
        "source": source,
        "output": output,
        "tokenizer": tokenizer,
        "device": device,
        "max_duration_s": max_duration_s,
        "min_duration_s": min_duration_s,
        "loudness_lufs": loudness_lufs,
        "streams": stream,
        "batch_s": batch_s,
        "strict": strict or None,
        "rank": rank,
        "world_size": world_size,
    }
    settings = make_config(EncodeConfig, config, overrides, given)
    with progress_bar("encoding") as update:

        def report(state: EncodeProgress) -> None:
            speed = f"{state.audio_hours_per_hour:.1f} h of audio per hour" if state.audio_s else state.phase
            update(state.items_done, state.items_total, speed)

        summary = encode_dataset(settings, progress=report)
    text = f"{summary.path}: {summary.num_items} items, {summary.hours:.3f} h, {summary.num_failed} left out"
    if summary.num_failed:
        text += " (see failed.jsonl)"
    if summary.already_complete:
        text += ", already complete"
    show(summary.to_dict(), as_json, text)


@app.command()
def decode(
    dataset: Annotated[str, typer.Argument(help="Folder that encode wrote.")],
    output: Annotated[str, typer.Argument(help="Folder for the wav files.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="Options of the codec, such as steps=3.", show_default=False),
    ] = None,
    tokenizer: Tokenizer = None,
    stream: Annotated[str | None, typer.Option(help="latents or tokens.", show_default=False)] = None,
    item: Annotated[list[str] | None, typer.Option("--id", help="Only this item; repeatable.")] = None,
    limit: Annotated[int | None, typer.Option(help="At most this many items.", show_default=False)] = None,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same audio.")] = 0,
    subtype: Annotated[str, typer.Option(help="PCM_16, PCM_24 or FLOAT.")] = "PCM_24",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")] = "auto",
    as_json: Json = False,
) -> None:
    """Decode a dataset back to audio files."""
    from ...core.settings import parse_overrides
    from ..decode import DecodeConfig, decode_dataset

    extra = parse_overrides(overrides or ())
    with progress_bar("decoding") as update:
        settings = DecodeConfig(
            dataset=dataset,
            output=output,
            tokenizer=tokenizer,
            stream=stream,  # type: ignore[arg-type]
            ids=tuple(item or ()),
            num=limit,
            seed=seed,
            subtype=subtype,  # type: ignore[arg-type]
            device=device,
            options=extra,
        )
        records = decode_dataset(settings, progress=update)
    show({"output": output, "items": records}, as_json, f"{output}: {len(records)} files")


@app.command()
def train(
    config: Annotated[str, typer.Argument(help="YAML file, or a shipped name such as train/codicodec-mini.")],
    overrides: Overrides = None,
    resume: Annotated[str, typer.Option(help="auto, none, or the folder of a checkpoint.")] = "auto",
    as_json: Json = False,
) -> None:
    """Train a codec or a generator; run again to go on where it stopped."""
    from ...core.settings import load_settings
    from ..train import train as run
    from ..train import train_config

    settings = train_config(load_settings(config, overrides or ()))
    with progress_bar("training") as update:

        def report(done: int, total: int, figures: dict[str, float]) -> None:
            update(done, total, f"loss {figures['loss']:.4g}")

        summary = run(settings, resume=None if resume == "none" else resume, progress=report)
    if process_rank()[0] == 0:
        text = f"{summary.checkpoint}: {summary.steps} steps"
        text += ", already complete" if summary.already_complete else f", loss {summary.loss:.4g}"
        text += f", held-out {summary.valid_loss:.4g}" if summary.valid_loss is not None else ""
        show(asdict(summary), as_json, text)


@app.command()
def sample(
    pipeline: Annotated[str, typer.Argument(help="Shipped name, saved pipeline, or the folder of a training run.")],
    output: Annotated[str, typer.Argument(help="Folder for the audio.")],
    overrides: Overrides = None,
    config: Config = None,
    prompt: Annotated[list[str] | None, typer.Option("--prompt", "-p", help="What to sample; repeatable.")] = None,
    prompts_file: Annotated[str | None, typer.Option(help="A prompt a line (.txt) or objects (.jsonl).")] = None,
    label: Annotated[str | None, typer.Option(help="Class label of all prompts.")] = None,
    seconds: Annotated[float | None, typer.Option(help="Length of each sample.", show_default=False)] = None,
    num: Annotated[int | None, typer.Option(help="Samples of each prompt.", show_default=False)] = None,
    seed: Seed = None,
    steps: Annotated[int | None, typer.Option(help="Of a diffusion generator.", show_default=False)] = None,
    guidance: Annotated[float | None, typer.Option(help="1 is none.", show_default=False)] = None,
    temperature: Annotated[float | None, typer.Option(help="Of a language generator.", show_default=False)] = None,
    top_k: Annotated[int | None, typer.Option(show_default=False)] = None,
    top_p: Annotated[float | None, typer.Option(show_default=False)] = None,
    continue_from: Annotated[str | None, typer.Option(help="Audio file that every sample begins with.")] = None,
    subtype: Annotated[str | None, typer.Option(help="PCM_16, PCM_24 or FLOAT.", show_default=False)] = None,
    tokenizer: Tokenizer = None,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Sample audio from prompts."""
    from ..sample import SampleConfig, sample_to_folder

    given: dict[str, Any] = {
        "pipeline": pipeline,
        "output": output,
        "prompts": tuple(prompt or ()),
        "prompts_file": prompts_file,
        "label": label,
        "seconds": seconds,
        "num": num,
        "seed": seed,
        "steps": steps,
        "guidance": guidance,
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
        "continue_from": continue_from,
        "subtype": subtype,
        "tokenizer": tokenizer,
        "device": device,
    }
    with progress_bar("sampling") as update:
        records = sample_to_folder(make_config(SampleConfig, config, overrides, given), progress=update)
    show({"output": output, "samples": records}, as_json, f"{output}: {len(records)} samples")


app.command()(evaluate)


@app.command()
def convert(
    source: Annotated[str, typer.Argument(help="Official name or hub id, or a file or folder of official weights.")],
    output: Annotated[str, typer.Argument(help="Folder for config.json and safetensors.")],
    options: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="Of the codec's own, such as NeuCodec's semantic=FOLDER."),
    ] = None,
    class_name: Annotated[
        str | None, typer.Option("--class", help="Of the codec, where the source does not tell.", show_default=False)
    ] = None,
    as_json: Json = False,
) -> None:
    """Convert a codec's official checkpoint."""
    from ...core.settings import parse_overrides
    from ...tokenizers.load import load_official

    load_official(source, class_name, **parse_overrides(options or ())).save_pretrained(output)
    show({"output": output}, as_json, f"{output}: converted from {source}")


@app.command()
def info(
    dataset: Annotated[str, typer.Argument(help="Folder that encode wrote.")],
    verify: Annotated[bool, typer.Option("--verify", help="Read everything and check the hashes.")] = False,
    codebook: Annotated[bool, typer.Option("--codebook", help="Count all tokens: entropy, usage, bit rates.")] = False,
    as_json: Json = False,
) -> None:
    """Show what is in a dataset, and check it."""
    from rich.console import Console

    from ..info import dataset_info, render

    with progress_bar("verifying") as update:
        facts = dataset_info(dataset, verify=verify, progress=update, codebook=codebook)
    if as_json:
        show(facts, True, "")
    else:
        Console().print(render(facts))
    if facts.get("problems"):
        raise typer.Exit(1)


@app.command()
def demo(
    output: Annotated[str, typer.Argument(help="Folder for everything, report.html among it.")] = "demo_out",
    overrides: Overrides = None,
    tokenizer: Tokenizer = None,
    as_json: Json = False,
) -> None:
    """Encode, train, sample, decode and evaluate at small size, and write a report."""
    from ...core.settings import parse_overrides
    from ..demo import run_demo

    settings = {} if tokenizer is None else {"tokenizer": tokenizer}
    settings |= parse_overrides(overrides or ())
    result = run_demo(output, progress=lambda line: typer.echo(line, err=True), **settings)
    show(asdict(result), as_json, f"{result.report}: written in {result.seconds:.0f} s")


app.command()(experiment)
app.command()(robustness)
app.command()(probe)


if __name__ == "__main__":
    main()
