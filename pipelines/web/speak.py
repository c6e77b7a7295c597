"""The tab Speak: a text, said in the generator's voice or that of a recording."""

from __future__ import annotations

from typing import Any

import gradio as gr

from ..hosting.speak import speak
from ..hosting.uploads import read_upload
from .page import Page, facts_text, picture, playable, player, read_seed, recording_field, seed_field, watched
from .pictures import spectrogram

EXAMPLE = "Hello there, how are you today?"


class SpeakTab:
    """The handlers of the tab; each may be called without the page.

    Args:
        page: what the tabs share.
    """

    def __init__(self, page: Page):
        self.page = page
        self.pipelines = {name: one for name, one in page.models.pipelines.items() if one.can_speak}

    def speak(
        self,
        name: str,
        text: str,
        path: str | None,
        speed: float,
        seed: str,
        progress: gr.Progress = gr.Progress(),  # noqa: B008  gradio finds it by its default
    ) -> tuple[Any, ...]:
        """Returns the sound, its spectrogram and the facts about it.

        Args:
            name: of the pipeline.
            text: what to say.
            path: of the recording of a voice; None: the generator's own.
            speed: 2 is twice as fast as in training.
            seed: of all noise; an empty text draws one.
            progress: bar of the page.

        Raises:
            ValueError, AudioError: what the pipeline cannot say, or is not allowed.
        """
        if not text.strip():
            raise ValueError("there is nothing to say: write a text")
        chosen = read_seed(seed)
        voice = None if path is None else read_upload(path, self.page.config)
        with self.page.jobs.admit(watched(progress, "speaking")) as job:
            made = speak(self.pipelines[name], self.page.config, job, text=text, voice=voice, speed=speed, seed=chosen)
        facts = facts_text(seed=made.seed, length=f"{made.duration_s:.2f} s", made_in=f"{made.took_s:.1f} s")
        return playable(made.audio, made.sample_rate), spectrogram(made.audio, made.sample_rate), facts

    def voices_of(self, name: str) -> tuple[Any, None]:
        """Returns the update of the part of the form that only pipelines have which take a voice, and no voice."""
        return gr.update(visible=self.pipelines[name].takes_voice), None

    def build(self) -> None:
        """Adds the tab to the page, if any pipeline speaks."""
        if not self.pipelines:
            return
        names = list(self.pipelines)
        with gr.Tab("Speak", id="speak"), gr.Row():
            with gr.Column(scale=1, min_width=320):
                name = gr.Dropdown(names, value=names[0], label="Pipeline")
                text = gr.Textbox(EXAMPLE, label="Text", lines=4, max_length=10_000)
                with gr.Column(visible=self.pipelines[names[0]].takes_voice) as voices:
                    voice = recording_field(
                        self.page, "Voice to speak in; by default the generator's own", "speak-voice"
                    )
                speed = gr.Slider(0.5, 2, value=1, step=0.05, label="Speed")
                seed = seed_field()
                run = gr.Button("Speak", variant="primary")
            with gr.Column(scale=1, min_width=320):
                outputs = [player("Speech"), picture("Spectrogram"), gr.Markdown()]
            name.change(inputs=[name], outputs=[voices, voice], **self.page.quick(self.voices_of))
            run.click(inputs=[name, text, voice, speed, seed], outputs=outputs, **self.page.event(self.speak))
