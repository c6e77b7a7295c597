"""The tab Generate: a new item, or a recording that is continued, replaced in part, varied or made into a loop."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import gradio as gr
import torch

from ..generation.pipeline import GenerationPipeline
from ..hosting.generate import Made, checked_options, checked_seconds, generate
from ..hosting.jobs import Job
from ..hosting.uploads import read_upload
from .forms import OptionForm
from .page import Page, facts_text, picture, playable, player, read_seed, recording_field, seed_field, watched
from .pictures import WIDTH, spectrogram

NEW, CONTINUE, REPLACE, VARY, LOOP = "New", "Continue", "Replace a part", "Vary", "Loop"
MODES = (NEW, CONTINUE, REPLACE, VARY, LOOP)


class GenerateTab:
    """The handlers of the tab; each may be called without the page.

    Args:
        page: what the tabs share.
    """

    def __init__(self, page: Page):
        self.page = page
        self.pipelines = {name: one for name, one in page.models.pipelines.items() if not one.can_speak}
        self.form = OptionForm(self.pipelines)

    def generate(
        self,
        name: str,
        mode: str,
        prompt: str,
        seconds: float,
        seed: str,
        path: str | None,
        start: float,
        end: float,
        strength: float,
        progress: gr.Progress = gr.Progress(),  # noqa: B008  gradio finds it by its default
        *values: Any,
    ) -> tuple[Any, ...]:
        """Returns the sound, its spectrogram and the facts about it.

        Args:
            name: of the pipeline.
            mode: one of `MODES`.
            prompt: text.
            seconds: of a new item, that are added to a recording, or at its end that are made into a loop.
            seed: of all noise; an empty text draws one.
            path: of the recording, for all modes but the first.
            start: of the part that is replaced, in seconds.
            end: of that part.
            strength: of a variation.
            progress: bar of the page.
            values: of the fields of the sampling options.

        Raises:
            ValueError, AudioError: what the pipeline cannot do, or is not allowed.
        """
        pipeline = self.pipelines[name]
        options = self.form.read(name, values)
        with self.page.jobs.admit(watched(progress, "sampling")) as job:
            if mode == NEW:
                made = generate(
                    pipeline,
                    self.page.config,
                    job,
                    prompt=prompt,
                    seconds=seconds,
                    seed=read_seed(seed),
                    options=options,
                )
            else:
                made = self._edit(
                    pipeline, job, mode, prompt, seconds, read_seed(seed), path, (start, end), strength, options
                )
        facts = facts_text(
            seed=made.seed, length=f"{made.duration_s:.2f} s", made_in=f"{made.took_s:.1f} s", pipeline=name
        )
        return playable(made.audio, made.sample_rate), spectrogram(made.audio, made.sample_rate), facts

    def _edit(
        self,
        pipeline: GenerationPipeline,
        job: Job,
        mode: str,
        prompt: str,
        seconds: float,
        seed: int,
        path: str | None,
        region: tuple[float, float],
        strength: float,
        options: dict[str, Any],
    ) -> Made:
        audio, rate = read_upload(path, self.page.config)
        call: dict[str, Any] = {
            "prompt": prompt,
            "generator": torch.Generator().manual_seed(seed),
            "callback": job.progress,
            **checked_options(options, pipeline),
        }
        added_s = checked_seconds(seconds, pipeline, self.page.config.max_seconds)
        with job.turn():
            began_s = time.perf_counter()
            if mode == CONTINUE:
                output = pipeline.continue_(audio, rate, extra_s=added_s, **call)
            elif mode == REPLACE:
                output = pipeline.inpaint(audio, rate, regions=[region], **call)
            elif mode == VARY:
                output = pipeline.vary(audio, rate, strength=strength, **call)
            else:
                output = pipeline.loop(audio, rate, join_s=added_s, **call)
            took_s = time.perf_counter() - began_s
        return Made(audio=output.item(0), sample_rate=output.sample_rate, seed=seed, took_s=took_s)

    def heard(self, path: str | None) -> tuple[Any, ...]:
        """Returns the spectrogram of a recording, its length in seconds, and updates of the sliders of a region."""
        if path is None:
            return None, 0.0, gr.update(), gr.update()
        audio, rate = read_upload(path, self.page.config)
        duration_s = audio.shape[1] / rate
        third = round(duration_s / 3, 2)
        top = round(duration_s, 2)
        region = (third, 2 * third)
        sliders = (gr.update(maximum=top, value=value) for value in region)
        return spectrogram(audio, rate, region), duration_s, *sliders

    def marked(self, path: str | None, start: float, end: float) -> Any:
        """Returns the spectrogram of a recording with a region that stands out.

        Args:
            path: of the recording.
            start: of the region, in seconds.
            end: of the region, in seconds.
        """
        if path is None:
            return None
        audio, rate = read_upload(path, self.page.config)
        return spectrogram(audio, rate, (start, end))

    def picked(self, duration_s: float, start: float, end: float, event: gr.SelectData) -> tuple[float, float]:
        """Returns the region with its nearer end where the spectrogram was clicked.

        Args:
            duration_s: of the recording.
            start: of the region, in seconds.
            end: of the region, in seconds.
            event: of the picture.
        """
        place = round(float(event.index[0]) / WIDTH * duration_s, 2)
        if abs(place - start) <= abs(place - end):
            return min(place, end), max(place, end)
        return min(start, place), max(start, place)

    def build(self) -> None:
        """Adds the tab to the page, if any pipeline follows prompts."""
        names, page = list(self.pipelines), self.page
        if not names:
            return
        with gr.Tab("Generate", id="generate"), gr.Row():
            with gr.Column(scale=1, min_width=320):
                name = gr.Dropdown(names, value=names[0], label="Pipeline")
                mode = gr.Radio(list(MODES), value=NEW, label="What to make")
                prompt = gr.Textbox(label="Prompt", placeholder="calm orchestral music", lines=2, max_length=10_000)
                with gr.Column(visible=False) as given:
                    recording = recording_field(page, "Recording", "generate-recording")
                with gr.Column(visible=False) as region:
                    shown = picture("Click to move the nearer end of the part")
                    start = gr.Slider(0, 1, value=0, step=0.01, label="Start of the part in seconds")
                    end = gr.Slider(0, 1, value=1, step=0.01, label="End of the part in seconds")
                strength = gr.Slider(0.05, 1, value=0.6, step=0.05, label="Strength of the variation", visible=False)
                with gr.Row():
                    longest = page.config.max_seconds
                    default = min(5.0, longest)
                    seconds = gr.Number(default, label="Seconds", minimum=0.1, maximum=longest, step=0.5)
                    seed = seed_field()
                run = gr.Button("Generate", variant="primary")
                self.form.render(names[0])
            with gr.Column(scale=1, min_width=320):
                outputs = [player("Result"), picture("Spectrogram"), gr.Markdown()]
            duration_s = gr.State(0.0)
            name.change(inputs=[name], outputs=self.form.components, **page.quick(self.form.updates))
            mode.change(inputs=[mode], outputs=[given, region, strength, seconds], **page.quick(mode_updates))
            changed = [shown, duration_s, start, end]
            recording.change(inputs=[recording], outputs=changed, **page.quick(self.heard))
            for slider in (start, end):
                slider.release(inputs=[recording, start, end], outputs=[shown], **page.quick(self.marked))
            shown.select(inputs=[duration_s, start, end], outputs=[start, end], **page.quick(self.picked)).then(
                inputs=[recording, start, end], outputs=[shown], **page.quick(self.marked)
            )
            inputs = [name, mode, prompt, seconds, seed, recording, start, end, strength, *self.form.components]
            run.click(inputs=inputs, outputs=outputs, **page.event(self.generate))


def mode_updates(mode: str) -> Sequence[Any]:
    """Returns the updates of the parts of the form that only some modes have."""
    labels = {CONTINUE: "Seconds to add", LOOP: "Seconds at the end to replace"}
    return (
        gr.update(visible=mode != NEW),
        gr.update(visible=mode == REPLACE),
        gr.update(visible=mode == VARY),
        gr.update(
            visible=mode not in (REPLACE, VARY), label=labels.get(mode, "Seconds"), value=1 if mode == LOOP else 5
        ),
    )
