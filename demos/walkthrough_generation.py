"""Samples of captions, edits of a recording, a stream, and speech, by the generators of the demo.

Shape letters: C channels, N samples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

import latentune
from latentune.core.outputs import slug
from latentune.demos.walkthrough_exhibits import Clip, Exhibit
from latentune.pipelines.edit import EditConfig, edit_audio

if TYPE_CHECKING:
    from latentune.demos.walkthrough_config import DemoConfig

CAPTIONS = "Music from captions"
EDITS = "Edits of a recording"
STREAM = "A stream whose prompt changes"
SPEECH = "Speech from text"
TRAINED = "Trained just now"
GAP = (0.4, 0.6)  # of a recording, that is sampled again
KEPT = 0.5  # of a recording, that is continued


@dataclass(frozen=True, kw_only=True)
class Generation:
    """A loaded pipeline."""

    name: str  # or path
    pipeline: latentune.GenerationPipeline

    @property
    def short_name(self) -> str:
        """The last part of the name, for folders and captions."""
        return Path(self.name).name


def sample(
    made_by: Generation, prompts: Sequence[str], config: DemoConfig, folder: Path, *, section: str, caption: str
) -> Exhibit:
    """Samples prompts to a folder, as `latentune sample` does."""
    output = folder / "samples" / made_by.short_name
    records = latentune.sample_to_folder(
        latentune.SampleConfig(
            pipeline=made_by.name,
            output=str(output),
            prompts=tuple(prompts),
            seconds=config.seconds,
            num=config.num,
            seed=config.seed,
            decode_options=config.decode_options,
            spectrograms=False,
            device="cpu",
        ),
        pipeline=made_by.pipeline,
    )
    clips = [
        Clip(label=record["prompt"] or "unprompted", file=str((output / record["file"]).relative_to(folder)))
        for record in records
    ]
    return Exhibit(section=section, caption=caption, clips=clips)


def inpaint(made_by: Generation, recording: Path, config: DemoConfig, folder: Path) -> Exhibit:
    """Replaces a part in the middle of a recording.

    Raises:
        ValueError: a generator that can only continue, or a recording that is too short.
    """
    audio, rate = latentune.read_audio(recording)
    start, stop = (round(share * audio.shape[-1] / rate, 2) for share in GAP)
    output = _place(folder, f"inpainted_{made_by.short_name}.wav")
    _edit(made_by, recording, output, config, replace=(f"{start}:{stop}",))
    return Exhibit(
        section=EDITS,
        caption=f"A gap of {stop - start:.1f} s, filled by {made_by.short_name}",
        text="The part between the dashed lines was removed and sampled again; the rest is the original.",
        clips=_both(recording, output, "with a new middle", (start, stop), folder),
    )


def extend(made_by: Generation, recording: Path, config: DemoConfig, folder: Path) -> Exhibit:
    """Continues the beginning of a recording.

    Raises:
        ValueError: a recording without a whole chunk of the codec.
    """
    audio, rate = latentune.read_audio(recording)
    kept = audio[:, : max(1, round(KEPT * audio.shape[-1]))]
    excerpt = _place(folder, "beginning.wav")
    latentune.write_audio(excerpt, kept, rate)
    output = _place(folder, f"continued_{made_by.short_name}.wav")
    _edit(made_by, excerpt, output, config, extend=config.seconds)
    end_s = kept.shape[-1] / rate
    return Exhibit(
        section=EDITS,
        caption=f"Continued by {made_by.short_name}",
        text=f"The generator heard the first {end_s:.1f} s, up to the dashed line, and sampled the rest.",
        clips=_both(recording, output, "continued", (end_s, end_s + config.seconds), folder),
    )


def stream(made_by: Generation, prompts: Sequence[str], config: DemoConfig, folder: Path) -> Exhibit:
    """Streams audio, and asks for the last prompt in place of the first in the middle.

    Raises:
        ValueError: a generator that cannot stream.
    """
    first, second = prompts[0], prompts[-1]
    session = made_by.pipeline.stream(
        first,
        duration_s=2 * config.seconds,
        generator=torch.Generator().manual_seed(config.seed),
        decode_options=config.decode_options,
    )
    pieces: list[Tensor] = []
    for piece in session:
        pieces.append(piece)
        if session.prompt != second and sum(p.shape[-1] for p in pieces) >= config.seconds * session.sample_rate:
            session.prompt = second
    audio = torch.cat(pieces, -1)
    output = _place(folder, f"streamed_{made_by.short_name}.wav", "streams")
    latentune.write_audio(output, audio, session.sample_rate)
    length_s = audio.shape[-1] / session.sample_rate
    marks = [(min(config.seconds, length_s), length_s)]
    return Exhibit(
        section=STREAM,
        caption=f"{made_by.short_name}: “{first}”, then “{second}”",
        text="Audio came piece by piece; at the dashed line the prompt was replaced.",
        clips=[Clip(label="streamed", file=str(output.relative_to(folder)), marks=marks)],
    )


def say(made_by: Generation, texts: Sequence[str], config: DemoConfig, folder: Path) -> Exhibit:
    """Speaks sentences."""
    clips = []
    for number, text in enumerate(texts):
        noise = torch.Generator().manual_seed(config.seed)
        result = made_by.pipeline.say(text, generator=noise, decode_options=config.decode_options)
        output = _place(folder, f"{number:02d}_{slug(text)}.wav", f"speech/{made_by.short_name}")
        latentune.write_audio(output, result.item(0), result.sample_rate)
        clips.append(Clip(label=text, file=str(output.relative_to(folder))))
    return Exhibit(section=SPEECH, caption=made_by.short_name, clips=clips)


def first_that_can(
    candidates: Sequence[Generation], make: Callable[[Generation], Exhibit], what: str
) -> tuple[Exhibit | None, str]:
    """Returns what the first generator that can makes, or the reasons why none can."""
    reasons = []
    for candidate in candidates:
        try:
            return make(candidate), ""
        except ValueError as error:
            reasons.append(f"{candidate.short_name}: {error}")
    return None, f"no {what}: {'; '.join(reasons) or 'no generator was at hand'}"


def _edit(
    made_by: Generation,
    recording: Path,
    output: Path,
    config: DemoConfig,
    extend: float | None = None,
    **edit: Any,
) -> None:
    wanted = EditConfig(
        audio=str(recording),
        output=str(output),
        pipeline=made_by.name,
        extend=extend,
        seed=config.seed,
        device="cpu",
        **edit,
    )
    edit_audio(wanted, pipeline=made_by.pipeline)


def _both(recording: Path, output: Path, label: str, mark: tuple[float, float], folder: Path) -> list[Clip]:
    return [
        Clip(label="original", file=str(recording)),
        Clip(label=label, file=str(output.relative_to(folder)), marks=[mark]),
    ]


def _place(folder: Path, name: str, below: str = "edits") -> Path:
    (folder / below).mkdir(parents=True, exist_ok=True)
    return folder / below / name
