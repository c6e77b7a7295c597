"""The tab Compare: one recording through two systems, with figures.

Shape letters: C channels, N samples.
"""

from __future__ import annotations

from typing import Any

import gradio as gr
import torch
from torch import Tensor

from ...tokenizers.spec import STREAMS, Stream
from ..data.audio.convert import resample, to_channels
from ..hosting.jobs import Job
from ..hosting.uploads import read_upload
from ..measure.codecs.figures.catalog import PAIR_FIGURES, split_available
from ..measure.codecs.figures.common import Undefined
from ..measure.codecs.references import REFERENCES, fit_length, reference_systems
from ..measure.codecs.systems import CodecSystems, Reconstruction
from .page import Page, picture, playable, player, recording_field, unfold
from .pictures import spectrogram

FIGURES = ("multi_resolution_mel_distance", "si_sdr_db", "stoi", "pesq_wb", "loudness_error_lu", "envelope_correlation")
NO_VALUE = "-"
BETTER = {"lower": "low", "higher": "high", "zero": "0", None: NO_VALUE}
WIDTHS = ("34%", "24%", "24%", "18%")


class CompareTab:
    """The handlers of the tab; each may be called without the page.

    Args:
        page: what the tabs share.
    """

    def __init__(self, page: Page):
        self.page = page
        self.codecs: dict[str, tuple[str, Stream]] = {
            f"{name}, {stream}": (name, stream) for name in page.models.tokenizers for stream in STREAMS
        }
        self.references, _ = reference_systems([name for name in REFERENCES if name != "silence"])

    @property
    def names(self) -> list[str]:
        """The systems that can be compared."""
        return [*self.codecs, *self.references]

    def compare(self, path: str | None, one: str, other: str) -> tuple[Any, ...]:
        """Returns sound and spectrogram of the original and of both systems, and a table of figures.

        Args:
            path: of the recording.
            one: name of a system.
            other: name of another system.

        Raises:
            AudioError: the recording cannot be read.
        """
        audio, rate = read_upload(path, self.page.config)
        audio = to_channels(audio[None], min(2, len(audio)))[0]
        with self.page.jobs.admit() as job:
            made = [self._run(job, name, audio, rate) for name in (one, other)]
        common = min(rate, *(sample_rate for _, sample_rate in made))
        original = resample(audio, rate, common)
        facts = [PAIR_FIGURES[name].facts for name in self.figures]
        rows = [["bit rate, kbit/s"], *([f"{one.title}, {one.unit}" if one.unit else one.title] for one in facts)]
        for name, (sound, sample_rate) in zip((one, other), made, strict=True):
            column = [self._kbps(name), *self._measured(original, resample(sound, sample_rate, common), common)]
            rows = [[*row, value] for row, value in zip(rows, column, strict=True)]
        better = [NO_VALUE, *(BETTER[one.better] for one in facts)]
        rows = [[*row, value] for row, value in zip(rows, better, strict=True)]
        sounds = [(audio, rate), *made]
        players = [value for sound in sounds for value in (playable(*sound), spectrogram(*sound))]
        table = gr.Dataframe(value=rows, headers=[f"at {common} Hz", one, other, "better"])
        return *players, table

    @property
    def figures(self) -> tuple[str, ...]:
        """The figures whose packages are installed."""
        return split_available(FIGURES)[0]

    def _run(self, job: Job, name: str, audio: Tensor, rate: int) -> tuple[Tensor, int]:
        """Returns audio [C, N] through a system, with as many channels as the recording, and its rate in Hz."""
        if name in self.references:
            with job.turn():
                return _audio(self.references[name](audio, rate)), rate
        tokenizer_name, stream = self.codecs[name]
        tokenizer = self.page.models.tokenizers[tokenizer_name]
        spec = tokenizer.spec
        with job.turn(), torch.no_grad():
            converted = to_channels(resample(audio, rate, spec.sample_rate)[None], spec.channels)[0]
            sound = _audio(CodecSystems(tokenizer).system(stream)(converted, spec.sample_rate))
        return to_channels(sound[None], len(audio))[0], spec.sample_rate

    def _kbps(self, name: str) -> str:
        if name not in self.codecs:
            return name.rpartition("-")[2] if name.startswith("opus") else NO_VALUE
        tokenizer, stream = self.codecs[name]
        bps = self.page.models.tokenizers[tokenizer].spec.packed_bitrate_bps
        return f"{bps / 1000:.2f}" if stream == "tokens" else NO_VALUE

    def _measured(self, original: Tensor, sound: Tensor, rate: int) -> list[str]:
        sound = fit_length(sound, original.shape[-1])
        found = []
        for name in self.figures:
            try:
                found.append(f"{PAIR_FIGURES[name].measure(original, sound, rate):.3f}")
            except Undefined:
                found.append(NO_VALUE)
        return found

    def build(self) -> None:
        """Adds the tab to the page."""
        names = self.names
        with gr.Tab("Compare", id="compare"):
            with gr.Row():
                with gr.Column(min_width=320):
                    recording = recording_field(self.page, "Recording", "compare-recording")
                with gr.Column(min_width=320):
                    one = gr.Dropdown(names, value=names[1], label="System A")
                    other = gr.Dropdown(names, value=names[3] if len(names) > 3 else names[0], label="System B")
                    run = gr.Button("Compare", variant="primary")
            outputs: list[Any] = []
            with gr.Column(visible=False) as compared:
                with gr.Row():
                    for label in ("Original", "System A", "System B"):
                        with gr.Column(min_width=280):
                            outputs += [player(label), picture(f"{label}: spectrogram")]
                table = gr.Dataframe(
                    column_widths=list(WIDTHS), interactive=False, wrap=True, label="Figures against the original"
                )
            inputs = [recording, one, other]
            done = run.click(inputs=inputs, outputs=[*outputs, table], **self.page.event(self.compare))
            unfold(done, self.page, parts=[compared])


def _audio(made: Tensor | Reconstruction) -> Tensor:
    return made.audio if isinstance(made, Reconstruction) else made
