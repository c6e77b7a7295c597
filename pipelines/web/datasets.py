"""The tab Datasets: items of a dataset, their sound and streams, and how well the codebooks are used."""

from __future__ import annotations

from typing import Any

import gradio as gr
import torch

from ..data.shards.decode import choose_stream, decode_item
from ..data.shards.read import check_tokenizer
from ..hosting.uploads import check_decodable
from ..measure.codecs.figures.tokens import FEW_TOKENS, analyse_dataset, too_few_tokens
from .page import Page, facts_text, picture, playable, player, unfold
from .pictures import spectrogram, stream
from .tokenize import digits_of

PAGE_ITEMS = 50
USAGE = ("codebook", "used", "entropy, bits", "normalized entropy")
HEADERS = ("no.", "id", "seconds", "label", "text")
WIDTHS = ("60px", "170px", "95px", "90px", "260px")


class DatasetsTab:
    """The handlers of the tab; each may be called without the page.

    Args:
        page: what the tabs share.
    """

    def __init__(self, page: Page):
        self.page = page

    def items(self, name: str, number: float) -> tuple[list[list[Any]], str]:
        """Returns the rows of a page of items, and the facts about the dataset.

        Args:
            name: of the dataset.
            number: of the page, 1 for the first.

        Raises:
            ValueError: the dataset has no such page.
        """
        dataset = self.page.models.datasets[name]
        pages = max(1, -(-len(dataset) // PAGE_ITEMS))
        if number is None or not 1 <= number <= pages:
            raise ValueError(f"the page must lie in 1..{pages}, got {number}")
        first = (int(number) - 1) * PAGE_ITEMS
        rows = []
        for index in range(first, min(first + PAGE_ITEMS, len(dataset))):
            meta = dataset.meta(index)
            known = meta["metadata"]
            rows.append(
                [index, meta["id"], round(meta["duration_s"], 2), *(_text(known.get(key)) for key in HEADERS[3:])]
            )
        hours = float(dataset.columns.numbers("duration_s").sum()) / 3600
        streams = " and ".join(dataset.streams)
        return rows, facts_text(
            items=len(dataset), hours=f"{hours:.3f}", streams=streams, page=f"{int(number)} of {pages}"
        )

    def play(self, name: str, index: float) -> tuple[Any, ...]:
        """Returns sound, spectrogram, picture of the stream and facts of one item.

        Args:
            name: of the dataset.
            index: of the item.

        Raises:
            ValueError: the dataset has no such item, or it is longer than is allowed.
            MismatchError: the codec is not the one that encoded the dataset.
        """
        dataset = self.page.models.datasets[name]
        if index is None or not 0 <= index < len(dataset):
            raise ValueError(f"the item must lie in 0..{len(dataset) - 1}, got {index}")
        item, meta = dataset[int(index)], dataset.meta(int(index))
        check_decodable(item.duration_s, self.page.config)
        with self.page.jobs.admit() as job:
            tokenizer = self.page.models.tokenizer_of(name)
            check_tokenizer(dataset, tokenizer)
            with job.turn(), torch.no_grad():
                sound = decode_item(dataset, int(index), tokenizer, choose_stream(dataset, None)).cpu()
        frames = item.latents if item.latents is not None else digits_of(_tokens(item.tokens), dataset.spec)
        rate = dataset.spec.sample_rate
        facts = facts_text(item=meta["id"], **{key: _text(value) for key, value in meta["metadata"].items()})
        return playable(sound, rate), spectrogram(sound, rate), stream(frames), facts

    def usage(self, name: str) -> tuple[list[list[Any]], str]:
        """Returns a row for each codebook, and the bit rates that follow.

        Args:
            name: of the dataset.

        Raises:
            DatasetError: the dataset holds no tokens.
        """
        found = analyse_dataset(self.page.models.datasets[name])
        rows = [
            [
                number,
                f"{book.num_used:,} of {book.size:,}",
                f"{book.entropy_bits:.2f}",
                f"{book.normalised_entropy:.3f}",
            ]
            for number, book in enumerate(found.codebooks)
        ]
        rates = facts_text(
            packed=f"{found.packed_bitrate_bps:.0f} bit/s", entropy=f"{found.entropy_bitrate_bps:.0f} bit/s"
        )
        return rows, f"{rates}\n\n{FEW_TOKENS.capitalize()}." if too_few_tokens(found.to_dict()) else rates

    def build(self) -> None:
        """Adds the tab to the page, if there are datasets."""
        names, page = list(self.page.models.datasets), self.page
        if not names:
            return
        with gr.Tab("Datasets", id="datasets"):
            with gr.Row():
                name = gr.Dropdown(names, value=names[0], label="Dataset")
                number = gr.Number(1, label="Page", precision=0, minimum=1)
                index = gr.Number(0, label="Item", precision=0, minimum=0)
            facts = gr.Markdown()
            table = gr.Dataframe(
                headers=list(HEADERS),
                column_widths=list(WIDTHS),
                interactive=False,
                wrap=True,
                label="Items: click one to hear it",
            )
            with gr.Column(visible=False) as heard:
                about = gr.Markdown()
                with gr.Row():
                    sound, drawn, frames = player("Decoded"), picture("Spectrogram"), picture("Its stream")
            count = gr.Button("Count the use of the codebooks")
            with gr.Column(visible=False) as counted:
                used = gr.Dataframe(headers=list(USAGE), interactive=False, label="Codebooks")
                rates = gr.Markdown()
            listing: dict[str, Any] = {"inputs": [name, number], "outputs": [table, facts]}
            playing: dict[str, Any] = {"inputs": [name, index], "outputs": [sound, drawn, frames, about]}
            for trigger in (name.change, number.submit):
                trigger(**listing, **page.quick(self.items))
            clicked = table.select(inputs=[name, number], outputs=[index], **page.quick(picked))
            for trigger in (clicked.then, index.submit):
                unfold(trigger(**playing, **page.event(self.play)), page, parts=[heard])
            usage = count.click(inputs=[name], outputs=[used, rates], **page.quick(self.usage))
            unfold(usage, page, parts=[counted])
            page.on_load.append((self.items, listing))


def picked(name: str, number: float, event: gr.SelectData) -> int:
    """Finds the item whose row of a page was clicked.

    Args:
        name: of the dataset.
        number: of the page.
        event: of the table.

    Returns:
        The number of the item.
    """
    return (int(number) - 1) * PAGE_ITEMS + int(event.index[0])


def _text(value: Any) -> str:
    return "" if value is None else ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def _tokens(tokens: torch.Tensor | None) -> torch.Tensor:
    assert tokens is not None, "an item has one of the two streams"
    return tokens
