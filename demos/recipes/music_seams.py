"""Seams of what a generator of music makes: the borders of edits, and those between the blocks of a stream.

At the borders of an edit: how much more the level steps than in the original at the same places, and how far the level
above 4 kHz lies over that around them, with the standard error over borders. The borders between the blocks of a stream
are compared with places within the blocks.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from latentune.layers.stft import stft
from latentune.pipelines.generation.pipeline import GenerationPipeline
from latentune.pipelines.measure.codecs.figures.borders import seam_db
from latentune.pipelines.measure.codecs.figures.common import Undefined

logger = logging.getLogger(__name__)

GAP_S = (2.0, 3.5)  # of a clip, that is sampled again
KEPT_S, ADDED_S = 3.0, 2.0  # of a continuation
STEP_S = 0.05  # of audio on each side of a border whose levels are compared
FRAME_S, AROUND_S, LOWEST_HZ = 0.008, 0.2, 4000.0  # of clicks
PLACES = 8  # of a block of a stream: its border, and those within it
FLOOR = 1e-9  # power, relative to full scale

Clips = list[tuple[Tensor, int]]  # audio [C, N] and its rate in Hz


def step_db(audio: Tensor, rate: int, border: int) -> float:
    """Level after a border minus that before it, in dB."""
    size = round(STEP_S * rate)
    before, after = (
        10 * math.log10(float(part.square().mean()) + FLOOR)
        for part in (audio[:, max(0, border - size) : border], audio[:, border : border + size])
    )
    return after - before


def click_db(audio: Tensor, rate: int, border: int) -> float:
    """Level above 4 kHz at a border minus its median around the border, in dB."""
    window = 2 * round(FRAME_S * rate / 2)
    around = round(AROUND_S * rate)
    start = max(0, border - around)
    part = audio[:, start : border + around]
    power = stft(part.double(), window, window // 4, nyquist=True).abs().square()
    level = 10 * torch.log10(power[:, math.ceil(LOWEST_HZ * window / rate) :].sum(1).mean(0) + FLOOR)
    centers = torch.arange(len(level)) * (window // 4) + window / 2
    return float(level[(centers - (border - start)).abs() <= window / 4].mean() - level.median())


def seams(edited: Clips, originals: Clips, borders: Sequence[Sequence[int]]) -> dict[str, float | None]:
    """Mean steps and clicks at borders, those of the originals there, and by how much the edited have more.

    Args:
        edited: clips.
        originals: of the same lengths and rates.
        borders: in samples, of each clip.

    Returns:
        The figures in dB.
    """
    kinds: dict[str, list[Tensor]] = {"step": [], "click": []}  # of the edited, of the originals
    for clips in (edited, originals):
        places = [(audio, rate, border) for (audio, rate), own in zip(clips, borders, strict=True) for border in own]
        kinds["step"].append(torch.tensor([abs(step_db(*place)) for place in places]))
        kinds["click"].append(torch.tensor([click_db(*place) for place in places]))
    found: dict[str, float | None] = {"borders": sum(map(len, borders))}
    for kind, (made, real) in kinds.items():
        excess = made - real
        found[f"edited_{kind}_db"], found[f"original_{kind}_db"] = float(made.mean()), float(real.mean())
        found[f"{kind}_excess_db"] = float(excess.mean())
        found[f"{kind}_error_db"] = _error(excess)
    return found


def seams_of_edits(pipeline: GenerationPipeline, clips: Clips) -> dict[str, Any]:
    """Seams of each edit of clips, at the codec's rate, that the generator can make."""
    rate, chunk = pipeline.tokenizer.spec.sample_rate, pipeline.tokenizer.spec.chunk_samples
    gap, end = [round(edge * rate) for edge in GAP_S], round(KEPT_S * rate)
    found: dict[str, Any] = {}
    makers: dict[str, tuple[Callable[[Tensor, torch.Generator], Tensor], list[int]]] = {
        "inpaint": (lambda a, g: pipeline.inpaint(a, rate, regions=[GAP_S], generator=g).item(0), gap),
        "continue": (
            lambda a, g: pipeline.continue_(a[:, :end], rate, extra_s=ADDED_S, generator=g).item(0),
            [end // chunk * chunk],
        ),
    }
    for name, (make, borders) in makers.items():
        try:
            edited = [(make(audio, torch.Generator().manual_seed(0)), rate) for audio, _ in clips]
        except ValueError as error:
            found[name] = str(error)
            continue
        found[name] = seams(edited, clips, [borders] * len(clips))
        logger.info("%s: %s", name, found[name])
    return found


def seams_of_streams(
    pipeline: GenerationPipeline, prompts: Sequence[str], seconds: float
) -> dict[str, float | None] | str:
    """Level above 4 kHz between the blocks of streams and within them, both over its median.

    Args:
        pipeline: of a generator that may stream.
        prompts: one for each stream.
        seconds: of each stream.

    Returns:
        The figures in dB, or why it cannot be measured.
    """
    between, within = [], []
    try:
        for number, prompt in enumerate(prompts):
            noise = torch.Generator().manual_seed(number)
            session = pipeline.stream(prompt, duration_s=seconds, generator=noise)
            audio, block = torch.cat(list(session), -1), session.stream.block_samples
            shifted = [audio[:, part * block // PLACES :] for part in range(PLACES)]
            levels = [seam_db(own, session.sample_rate, chunk_samples=block) for own in shifted]
            between.append(levels[0])
            within.append(sum(levels[1:]) / (PLACES - 1))
    except (ValueError, Undefined) as error:
        return str(error)
    excess = torch.tensor(between) - torch.tensor(within)
    return {
        "between_blocks_db": sum(between) / len(between),
        "within_blocks_db": sum(within) / len(within),
        "excess_db": float(excess.mean()),
        "error_db": _error(excess),
    }


def _error(values: Tensor) -> float | None:
    """The standard error of the mean of values [n]; None of one alone."""
    return float(values.std() / math.sqrt(len(values))) if len(values) > 1 else None
