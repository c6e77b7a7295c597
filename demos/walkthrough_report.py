"""The page of the demo: what can be heard comes first, then training, figures and times."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import latentune
from latentune.demos.walkthrough_codecs import CODECS
from latentune.demos.walkthrough_exhibits import Clip
from latentune.demos.walkthrough_generation import CAPTIONS, EDITS, SPEECH, STREAM, TRAINED
from latentune.pipelines.measure.results.audio import AudioCell
from latentune.pipelines.measure.results.page import Report

if TYPE_CHECKING:
    from latentune.demos.walkthrough import DemoResult
    from latentune.demos.walkthrough_config import DemoConfig

INTRODUCTION = """\
A codec turns audio into latents or tokens and back; a generator makes new ones from a caption. Everything on this \
page was computed just now, on this machine. The models that ship are small, so that they fit into the package: they \
show what each step does, and not how good it can sound."""
SECTIONS = {
    CODECS: "Some recordings, and what a codec gives back. Spectrograms of a row have the same axes and the same 0 dB.",
    CAPTIONS: "The generators were trained with captions of this kind. They make textures of a style, not songs.",
    EDITS: "A generator hears a part of a recording and samples the rest.",
    STREAM: "A causal generator gives audio while it is sampled, so that its prompt can be changed on the way.",
    SPEECH: "A generator of one voice, which knows how long each sentence takes.",
    TRAINED: "A very small generator saw the first codec's recordings above, and nothing else. It begins to learn them "
    "by heart: each caption is that of a recording.",
}
READING = """\
Mel distance: 0 is perfect. Level: how much louder than the original, where 0 is right. A Fréchet distance takes \
hundreds of windows of audio to mean something, and a demo has a few: use the command latentune evaluate for it."""


def write_report(config: DemoConfig, result: DemoResult, folder: Path) -> None:
    """Writes the HTML page `result.report`."""
    report = Report("Latentune demo")
    report.add_text(INTRODUCTION)
    count = f"{len(result.warnings)} parts were left out" if len(result.warnings) > 1 else "1 part was left out"
    report.add_warnings(count, result.warnings)
    for section, text in SECTIONS.items():
        exhibits = [one for one in result.exhibits if one.section == section]
        if not exhibits and not (section == TRAINED and result.training):
            continue
        report.add_heading(section)
        report.add_text(text)
        if section == TRAINED:
            _add_curves(report, result)
        for one in exhibits:
            cells = [_cell(clip, folder) for clip in one.clips]
            report.add_audio_row(one.caption, cells, text=one.text, format="flac")
    _add_figures(report, config, result)
    report.write(result.report)


def _cell(clip: Clip, folder: Path) -> AudioCell:
    audio, sample_rate = latentune.read_audio(folder / clip.file)
    return AudioCell(clip.label, audio[:2], sample_rate, tuple(clip.marks))


def _add_curves(report: Report, result: DemoResult) -> None:
    for name, run in result.training.items():
        steps, losses = zip(*run["curve"], strict=True)
        caption = f"{name}: loss over {run['steps']} steps, {run['seconds']:.0f} s"
        report.add_curve(caption, {"loss": (steps, losses)}, "step", "loss")


def _add_figures(report: Report, config: DemoConfig, result: DemoResult) -> None:
    report.add_heading("Figures")
    options = ", ".join(f"{name}={value}" for name, value in config.decode_options.items())
    report.add_table(
        f"Reconstruction{f' with {options}' if options else ''}: means over all recordings",
        ["codec", "stream", "kbit/s", "files", "mel distance", "of silence", "level (dB)"],
        [
            [
                row["codec"],
                row["stream"],
                None if row["bit_rate_bps"] is None else row["bit_rate_bps"] / 1000,
                row["files"],
                row.get("mel_distance"),
                row.get("mel_distance_of_silence"),
                row.get("level_difference_db"),
            ]
            for row in result.reconstruction
        ],
    )
    report.add_text(READING)
    times = [f"{seconds:6.1f} s  {name}" for name, seconds in result.stages_s.items()]
    report.add_folded(f"Time: {result.seconds:.0f} s in all", "\n".join(times))
