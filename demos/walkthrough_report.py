"""The figures of a demo and the page that shows them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import latentune
from latentune.pipelines.measure.codecs.evaluate import evaluate_tokenizer
from latentune.pipelines.measure.codecs.systems import silence, untrained
from latentune.pipelines.measure.results import summary_records
from latentune.pipelines.measure.results.page import Report
from latentune.tokenizers.base import STREAMS

if TYPE_CHECKING:
    from latentune.demos.walkthrough import DemoConfig, DemoResult

INTRODUCTION = """\
Real audio was encoded into latents and tokens, both kinds of generator were trained on them for a short while, \
generators were asked for samples, and everything was decoded and measured. The networks are small and were \
trained briefly: this page shows that every step works, not how good the result can sound."""
READING = """\
Mel and STFT distance: 0 is perfect, lower is better. SI-SDR: higher is better; a codec that generates \
details scores low. The rows of silence and of an untrained network put the figures into proportion."""

FEW = "A meaningful distance takes hundreds of samples; compare only distances on the same number of windows."


def measure(
    config: DemoConfig, result: DemoResult, source: Path, folder: Path, tokenizer: latentune.AudioTokenizer
) -> None:
    """Measures reconstructions and samples and adds the figures to `result`."""
    reconstruction = evaluate_tokenizer(
        tokenizer,
        source,
        options={_label(config): config.decode_options},
        baselines={"silence": silence},
        untrained=untrained(tokenizer, config.seed),
        seed=config.seed,
    )
    num_files = reconstruction.facts["num_files"]
    result.reconstruction = [{**row, "num_files": num_files} for row in summary_records(reconstruction)]
    result.warnings += [f"left out: {one['path']}: {one['reason']}" for one in reconstruction.failures]
    embedder = latentune.load_embedder("musicnn")
    for place in [*sorted((folder / "decoded").iterdir()), *sorted((folder / "samples").iterdir())]:
        wanted = latentune.EvaluateConfig(reference=str(source), generated=str(place), device="cpu")
        name = str(place.relative_to(folder))
        try:
            found = latentune.evaluate(wanted, embedder=embedder)
        except ValueError as error:  # too little audio: the rest of the report is still worth reading
            result.warnings.append(f"no distance of {name}: {error}")
            continue
        result.distances.append(
            {
                "set": name,
                "metric": found.metric,
                "value": found.value,
                "num_files": found.facts["generated"]["num_files"],
                "num_windows": found.facts["generated"]["num_windows"],
                "notes": found.warnings,
            }
        )


def write_report(config: DemoConfig, result: DemoResult, source: Path, folder: Path) -> None:
    """Writes the HTML page `result.report`."""
    report = Report("Latentune demo")
    report.add_text(INTRODUCTION)
    _add_figures(report, result)
    _add_training(report, result)
    report.add_heading("Samples")
    report.add_text(f"They are from {result.sampled_from}.")
    for name, records in result.samples.items():
        for record in records:
            path = folder / "samples" / name / record["file"]
            _add_file(report, f"{name}: {record['prompt']}", path, f"seed {record['seed']}, row {record['row']}")
    report.add_heading("Reconstructions")
    decoded = {stream: _decoded(folder / "decoded" / stream) for stream in STREAMS}
    label = ", ".join(filter(None, ["from {}", _label(config)]))
    for item in latentune.find_audio(source):
        text = str(item.metadata.get("text", ""))
        _add_file(report, f"{item.name}: original", Path(str(item.path)), text)
        for stream, files in decoded.items():
            for path in files.get(item.name, []):  # a long file has several parts, a failed one none
                _add_file(report, f"{item.name}: {label.format(stream)}", path)
    report.write(result.report)


def _add_figures(report: Report, result: DemoResult) -> None:
    report.add_heading("Figures")
    figures = ("mel_distance", "stft_distance", "si_sdr_db")
    report.add_table(
        "Reconstruction, means over the files",
        ["system", "files", "mel distance", "STFT distance", "SI-SDR (dB)"],
        [[row["system"], row["num_files"], *(row[figure] for figure in figures)] for row in result.reconstruction],
    )
    report.add_text(READING)
    metric = result.distances[0]["metric"] if result.distances else "distance"
    report.add_table(
        "Fréchet distance to the original audio",
        ["set", metric, "files", "windows"],
        [[row["set"], row["value"], row["num_files"], row["num_windows"]] for row in result.distances],
    )
    notes: dict[str, list[str]] = {}
    for row in result.distances:
        for note in row["notes"]:
            notes.setdefault(note, []).append(row["set"])
    if notes:
        report.add_warning("The samples are few and short, so the distances say little. " + FEW)
        report.add_text("\n".join(f"{note} ({', '.join(sets)})" for note, sets in notes.items()))
    for line in result.warnings:
        report.add_warning(line)
    report.add_table("Time", ["stage", "seconds"], [[name, seconds] for name, seconds in result.stages_s.items()])


def _add_training(report: Report, result: DemoResult) -> None:
    report.add_heading("Training")
    for name, run in result.training.items():
        steps, losses = zip(*run["curve"], strict=True)
        report.add_curve(
            f"{name}: {run['steps']} steps in {run['seconds']:.0f} s", {"loss": (steps, losses)}, "step", "loss"
        )


def _add_file(report: Report, caption: str, path: Path, text: str = "") -> None:
    audio, sample_rate = latentune.read_audio(path)
    report.add_audio(caption, audio, sample_rate, text=text, codec="ogg")


def _decoded(folder: Path) -> dict[str, list[Path]]:
    """Decoded files by the name of the original audio file."""
    places: dict[str, list[Path]] = {}
    for record in json.loads((folder / "decode.json").read_text(encoding="utf-8"))["items"]:
        places.setdefault(record["path"], []).append(folder / record["file"])
    return places


def _label(config: DemoConfig) -> str:
    """The decoding options as text, such as `steps=3`; empty for the codec's defaults."""
    return ", ".join(f"{name}={value}" for name, value in config.decode_options.items())
