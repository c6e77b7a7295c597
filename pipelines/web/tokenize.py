"""The tab Tokenize: the streams of a recording, their bit rate, and the sound of a changed token or flipped bits."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

import gradio as gr
import torch
from torch import Tensor

from ...layers.fsq import indices_to_digits
from ...tokenizers.base import STREAMS, Encoded, TokenizerSpec
from ..data.audio.convert import resample, to_channels
from ..hosting.uploads import read_upload
from ..measure.channel.channel import binary_symmetric
from ..measure.channel.labelling import Labelling
from .page import Page, facts_text, picture, playable, player, read_seed, recording_field, seed_field, unfold
from .pictures import spectrogram, stream, waveform

EMPTY = "Encode a recording: its two streams appear here, and below them how they sound, and with flipped bits."
CHANNELS = {1: "mono", 2: "stereo"}
TOKEN_FIELDS = ("Frame", "Codebook", "New token")


@dataclass(frozen=True, kw_only=True)
class Tokenized:
    """A recording that was encoded, and its tokens as they were changed since."""

    tokenizer: str
    encoded: Encoded
    tokens: Tensor  # [T', Q]

    @property
    def num_changed(self) -> int:
        """The number of tokens that differ from those that were encoded."""
        return int((self.tokens != self.encoded.tokens[0].cpu()).sum())


class TokenizeTab:
    """The handlers of the tab; each may be called without the page.

    Args:
        page: what the tabs share.
    """

    def __init__(self, page: Page):
        self.page = page

    def encode(self, name: str, path: str | None) -> tuple[Any, ...]:
        """Returns the state, the facts, and the pictures and sounds of both streams.

        Args:
            name: of the tokenizer.
            path: of the recording.

        Raises:
            AudioError: it cannot be read.
            ValueError: the tokenizer has no tokens.
        """
        audio, rate = read_upload(path, self.page.config)
        with self.page.jobs.admit() as job:
            tokenizer = self.page.models.tokenizers[name]
            spec = tokenizer.spec
            if not spec.levels:
                raise ValueError(f"{name} has no tokens (no quantizer): choose another tokenizer")
            original = to_channels(resample(audio, rate, spec.sample_rate)[None], spec.channels)[0]
            with job.turn(), torch.no_grad():
                began_s = time.perf_counter()
                encoded = tokenizer.encode(audio[None].to(tokenizer.device), rate)
                took_s = time.perf_counter() - began_s
                sounds = [tokenizer.decode_encoded(encoded, one, generator=_noise())[0] for one in STREAMS]
        tokens = encoded.tokens[0].cpu()
        state = Tokenized(tokenizer=name, encoded=encoded, tokens=tokens)
        pictures = (
            waveform(original),
            spectrogram(original, spec.sample_rate),
            stream(encoded.latents[0]),
            stream(digits_of(tokens, spec)),
        )
        facts = stream_facts(spec, original.shape[-1] / spec.sample_rate, encoded, took_s)
        return state, facts, *pictures, *(playable(sound, spec.sample_rate) for sound in sounds), *self._limits(state)

    def change(self, state: Tokenized | None, frame: float, codebook: float, value: float) -> tuple[Any, ...]:
        """Changes one token.

        Args:
            state: of `encode`.
            frame: number of the token frame.
            codebook: number of the codebook.
            value: new token.

        Returns:
            The state, the facts about it, its sound, and pictures of the sound and of the tokens.

        Raises:
            ValueError: nothing is encoded yet, or a number out of range.
        """
        state = _encoded(state)
        sizes = self.page.models.tokenizers[state.tokenizer].spec.codebook_sizes
        limits = {"frame": (frame, len(state.tokens)), "codebook": (codebook, len(sizes))}
        for what, (number, count) in limits.items():
            if number is None or not 0 <= number < count:
                raise ValueError(f"{what} must lie in 0..{count - 1}, got {number}")
        size = sizes[int(codebook)]
        if value is None or not 0 <= value < size:
            raise ValueError(f"a token of this codebook must lie in 0..{size - 1}, got {value}")
        tokens = state.tokens.clone()
        before = int(tokens[int(frame), int(codebook)])
        tokens[int(frame), int(codebook)] = int(value)
        return self._heard(replace(state, tokens=tokens), token=f"{before} is now {int(value)}")

    def flip(self, state: Tokenized | None, percent: float, seed: str) -> tuple[Any, ...]:
        """Flips bits of the tokens at random.

        Args:
            state: of `encode`.
            percent: of the bits.
            seed: of the draws; an empty text draws one.

        Returns:
            As `change`.

        Raises:
            ValueError: nothing is encoded yet, or a number out of range.
        """
        state = _encoded(state)
        chosen = read_seed(seed)
        labelling = Labelling(self.page.models.tokenizers[state.tokenizer].spec.levels)
        bits = labelling.tokens_to_bits(state.tokens)
        received = binary_symmetric(bits, percent / 100, torch.Generator().manual_seed(chosen)).bits
        tokens, _ = labelling.bits_to_tokens(received)
        flipped = f"{int((received != bits).sum())} of {bits.numel()}"
        return self._heard(replace(state, tokens=tokens), bits_flipped=flipped, seed=chosen)

    def undo(self, state: Tokenized | None) -> tuple[Any, ...]:
        """Returns to the tokens that were encoded; returns as `change`."""
        state = _encoded(state)
        return self._heard(replace(state, tokens=state.encoded.tokens[0].cpu()))

    def _heard(self, state: Tokenized, **facts: Any) -> tuple[Any, ...]:
        with self.page.jobs.admit() as job:
            tokenizer = self.page.models.tokenizers[state.tokenizer]
            with job.turn(), torch.no_grad():
                sound = tokenizer.decode(
                    tokens=state.tokens[None].to(tokenizer.device),
                    lengths_samples=state.encoded.lengths_samples,
                    gain_db=state.encoded.gain_db,
                    generator=_noise(),
                )[0].cpu()
        rate = tokenizer.spec.sample_rate
        text = facts_text(**facts, tokens_changed=f"{state.num_changed} of {state.tokens.numel()}")
        pictures = spectrogram(sound, rate), stream(digits_of(state.tokens, tokenizer.spec))
        return state, text, playable(sound, rate), *pictures

    def _limits(self, state: Tokenized) -> tuple[Any, ...]:
        """Returns updates of the fields of a token, with their largest values."""
        sizes = self.page.models.tokenizers[state.tokenizer].spec.codebook_sizes
        tops = len(state.tokens) - 1, len(sizes) - 1, max(sizes) - 1
        pairs = zip(TOKEN_FIELDS, tops, strict=True)
        return tuple(gr.update(label=f"{name}, 0 to {top}") for name, top in pairs)

    def build(self) -> None:
        """Adds the tab to the page."""
        names = list(self.page.models.tokenizers)
        with gr.Tab("Tokenize", id="tokenize"):
            state = gr.State(None, time_to_live=3600)
            with gr.Row():
                with gr.Column(scale=1, min_width=280):
                    name = gr.Dropdown(names, value=names[0], label="Tokenizer")
                    recording = recording_field(self.page, "Recording", "tokenize-recording")
                    encode = gr.Button("Encode", variant="primary")
                    facts = gr.Markdown()
                with gr.Column(scale=2, min_width=320):
                    empty = gr.Markdown(EMPTY)
                    with gr.Column(visible=False) as drawn:
                        pictures = [
                            picture("Waveform"),
                            picture("Spectrogram"),
                            picture("Latents: one row per dimension"),
                            picture("Tokens: one row per digit"),
                        ]
            with gr.Column(visible=False) as heard:
                with gr.Row():
                    sounds = [player("Decoded from latents"), player("Decoded from tokens")]
                with gr.Accordion("Change the tokens", open=False):
                    with gr.Row():
                        percent = gr.Slider(0, 50, value=1, step=0.1, label="Bits to flip, in percent")
                        seed = seed_field()
                        flip = gr.Button("Flip bits")
                    with gr.Row():
                        token = [gr.Number(0, label=label, precision=0, minimum=0) for label in TOKEN_FIELDS]
                        change = gr.Button("Change the token")
                    undo = gr.Button("Undo all changes")
                    changed = gr.Markdown()
                    with gr.Row():
                        edited = [state, changed, player("Decoded from the changed tokens"), picture("Its spectrogram")]
            shown = [state, facts, *pictures, *sounds, *token]
            event, edited = self.page.event, [*edited, pictures[3]]
            encoded = encode.click(inputs=[name, recording], outputs=shown, **event(self.encode))
            unfold(encoded, self.page, parts=[drawn, heard], placeholder=empty)
            change.click(inputs=[state, *token], outputs=edited, **event(self.change))
            flip.click(inputs=[state, percent, seed], outputs=edited, **event(self.flip))
            undo.click(inputs=[state], outputs=edited, **event(self.undo))


def digits_of(tokens: Tensor, spec: TokenizerSpec) -> Tensor:
    """Returns the digits [T', digits of all codebooks] of tokens [T', Q]."""
    books = zip(tokens.unbind(1), spec.levels, strict=True)
    return torch.cat([indices_to_digits(codes, levels) for codes, levels in books], 1)


def stream_facts(spec: TokenizerSpec, duration_s: float, encoded: Encoded, took_s: float) -> str:
    """Returns the sizes and rates of both streams as a table of Markdown.

    Args:
        spec: of the codec.
        duration_s: of the recording.
        encoded: one item.
        took_s: time of encoding.
    """
    latents, tokens = encoded.latents.shape[1:], encoded.tokens.shape[1:]
    size = spec.packed_bitrate_bps * duration_s / 8
    channels = CHANNELS.get(spec.channels, f"{spec.channels} channels")
    rows = {
        "audio": f"{duration_s:.2f} s at {spec.sample_rate} Hz, {channels}",
        "latents": f"{latents[0]} x {latents[1]}, {spec.latent_rate_hz:.4g} per second",
        "tokens": f"{tokens[0]} x {tokens[1]}, {spec.token_rate_hz * spec.tokens_per_frame:.4g} per second",
        "codebooks": ", ".join(f"{size:,}" for size in spec.codebook_sizes),
        "bit rate": f"{spec.bitrate_bps:.0f} bit/s ({spec.packed_bitrate_bps:.0f} in whole bits)",
        "this recording": f"{size:,.0f} bytes; {duration_s * spec.sample_rate * spec.channels * 2 / size:,.0f} times "
        "less than 16 bits per sample",
        "encoded in": f"{took_s:.2f} s",
    }
    lines = [f"| {name} | {value} |" for name, value in rows.items()]
    return "\n".join([lines[0], "|---|---|", *lines[1:]])


def _encoded(state: Tokenized | None) -> Tokenized:
    if state is None:
        raise ValueError("encode a recording first")
    return state


def _noise() -> torch.Generator:
    return torch.Generator().manual_seed(0)
