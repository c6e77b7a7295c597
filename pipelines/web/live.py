"""The tab Live: audio that is played while it is sampled, by a prompt that may change on the way."""

from __future__ import annotations

from html import escape
from typing import Any

import gradio as gr

from ..hosting.live import LiveStream
from ..hosting.models import can_stream
from .forms import OptionForm
from .page import Page, facts_text, read_seed, seed_field

LEAD_S = 3.0  # of audio that is made ahead of the player, so that a change is soon heard
STREAM_PATH = "/live"
# Gradio parses the HTML twice, and with `autoplay` an element outside of the page would fetch the stream first
PLAY = "() => { setTimeout(() => document.getElementById('live-player')?.play(), 100); }"


class LiveTab:
    """The handlers of the tab; each may be called without the page.

    Args:
        page: what the tabs share.
    """

    def __init__(self, page: Page):
        self.page = page
        self.pipelines = {name: one for name, one in page.models.pipelines.items() if can_stream(one)}
        self.form = OptionForm(self.pipelines)

    def start(
        self, before: LiveStream | None, name: str, prompt: str, seed: str, *values: Any
    ) -> tuple[LiveStream, str, str]:
        """Returns a new stream, the player that fetches it, and the facts about it.

        Args:
            before: stream of the same user, which is stopped.
            name: of the pipeline.
            prompt: text.
            seed: of all noise; an empty text draws one.
            values: of the fields of the sampling options.

        Raises:
            ValueError: what the pipeline cannot do.
            QueueFullError: as many streams and requests as are allowed run.
        """
        self.stop(before)
        pipeline = self.pipelines[name]
        options, chosen = self.form.read(name, values), read_seed(seed)
        job = self.page.jobs.admit()
        try:
            live = LiveStream(pipeline, self.page.config, job, prompt=prompt, seed=chosen, options=options)
        except BaseException:
            job.close()
            raise
        source = f"{STREAM_PATH}/{self.page.streams.add(live)}"
        player = f'<audio id="live-player" controls preload="none" src="{escape(source)}"></audio>'
        facts = facts_text(seed=live.seed, pipeline=name, longest=f"{self.page.config.max_stream_s:g} s")
        return live, player, facts

    def change(self, live: LiveStream | None, name: str, prompt: str, *values: Any) -> str:
        """Changes prompt and options of a stream from its next block on.

        Args:
            live: of `start`.
            name: of the pipeline.
            prompt: new text.
            values: of the fields of the sampling options.

        Returns:
            The facts about the stream.

        Raises:
            ValueError: no stream is running, or what the pipeline cannot do.
        """
        if live is None or live.ended:
            raise ValueError("no stream is running: start one")
        live.change(prompt=prompt, options=self.form.read(name, values))
        return facts_text(seed=live.seed, prompt=f"changed at {live.made_s:.1f} s")

    def stop(self, live: LiveStream | None) -> tuple[None, str, str]:
        """Ends a stream; returns an empty state and player."""
        if live is None:
            return None, "", ""
        live.stop()
        return None, "", f"Stopped after {live.made_s:.1f} s."

    def build(self) -> None:
        """Adds the tab to the page, if any pipeline streams."""
        if not self.pipelines:
            return
        names, page = list(self.pipelines), self.page
        with gr.Tab("Live", id="live"):
            # a stream is not copied, and is the user's own: its state is empty at first
            state = gr.State(None, time_to_live=page.config.max_stream_s + 60)
            gr.Markdown("Start a stream, change the prompt while it plays, and hear it follow at its next block.")
            with gr.Row():
                name = gr.Dropdown(names, value=names[0], label="Pipeline", min_width=300)  # wraps on a phone
                seed = seed_field()
            prompt = gr.Textbox(label="Prompt", placeholder="calm orchestral music", max_length=10_000)
            self.form.render(names[0])
            with gr.Row():
                start = gr.Button("Start", variant="primary")
                change = gr.Button("Change")
                stop = gr.Button("Stop")
            player, facts = gr.HTML(), gr.Markdown()
            name.change(inputs=[name], outputs=self.form.components, **page.quick(self.form.updates))
            inputs = [name, prompt, seed, *self.form.components]
            start.click(inputs=[state, *inputs], outputs=[state, player, facts], **page.quick(self.start)).success(
                fn=None, js=PLAY, api_visibility="private"
            )
            changed: dict[str, Any] = {"inputs": [state, name, prompt, *self.form.components], "outputs": [facts]}
            change.click(**changed, **page.quick(self.change))
            prompt.submit(**changed, **page.quick(self.change))
            stop.click(inputs=[state], outputs=[state, player, facts], **page.quick(self.stop))
