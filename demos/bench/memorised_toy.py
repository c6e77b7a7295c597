"""Continuation and inpainting by a generator that knows eight pieces by heart.

    OMP_NUM_THREADS=1 python demos/bench/memorised_toy.py --output toy.json

Each piece has seven chunks of random latents. A diffusion transformer without any condition is trained on them twice,
with keep patterns and without: the second one takes given chunks by replacement, as earlier releases did. Then chunks
of a piece are given and the rest is sampled: the share of draws that are nearest to the right piece among the eight,
chance being 1 in 8. The same for gaps, for several gaps, and for items of different lengths in one batch.

With `--drift`, a chunk-causal transformer is trained on eight endless pieces (five chunks, over and over), and streams
from two given chunks: how far its chunks lie from the chunks of the data, early and late, for several `past_noise`.
"""

from __future__ import annotations

import argparse
import json
import logging
import time
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from latentune.core.files import write_json
from latentune.generators.base import LatentBatch, TokenizerBinding, TrainedOn
from latentune.generators.conditioning import ConditioningConfig
from latentune.generators.conditions import Conditions
from latentune.generators.diffusion import (
    DiffusionTransformer,
    DiffusionTransformerConfig,
    RectifiedFlowConfig,
    RectifiedFlowObjective,
)
from latentune.generators.given import Given
from latentune.generators.parts.keep import KeepPatterns
from latentune.tokenizers.base import Encoded, TokenizerSpec

logger = logging.getLogger("memorised_toy")

PIECES, CHUNKS, FRAMES, DIM = 8, 7, 2, 6  # chunks a piece, latent frames a chunk, channels
PERIOD = 5  # chunks of an endless piece
SPEC = TokenizerSpec(
    name="toy",
    sample_rate=1000,
    channels=1,
    hop_samples=10,
    latent_dim=DIM,
    levels=((2,),),
    token_hop_samples=10,
    chunk_latents=FRAMES,
    chunk_tokens=FRAMES,
)
CONFIG = DiffusionTransformerConfig(
    binding=TokenizerBinding(spec=SPEC, fingerprint="0" * 64, latent_mean=(0.0,) * DIM, latent_std=(1.0,) * DIM),
    width=64,
    depth=3,
    heads=2,
    max_frames=CHUNKS * FRAMES,
    conditioning=ConditioningConfig(width=8, conditioners={}),
)
NO_PATTERNS = KeepPatterns(none=1, prefix=0, suffix=0, gap=0, gaps=0)
TASKS = {
    "continued after 1 of 7": [0],
    "continued after 3 of 7": [0, 1, 2],
    "continued after 5 of 7": [0, 1, 2, 3, 4],
    "gap of 3 in the middle": [0, 1, 5, 6],
    "two gaps": [0, 3, 6],
    "before the last 2": [5, 6],
}


def pieces() -> Tensor:
    """The eight pieces, [8, T, D]."""
    return torch.randn(PIECES, CHUNKS * FRAMES, DIM, generator=torch.Generator().manual_seed(0))


def train(
    config: DiffusionTransformerConfig, objective: RectifiedFlowConfig, data: Tensor, steps: int, batch: int = 32
) -> DiffusionTransformer:
    """A generator trained on random pieces of data [P, T, D]; endless ones are cut at a random chunk."""
    torch.manual_seed(0)
    loss_of = RectifiedFlowObjective(objective, config)
    model = DiffusionTransformer(replace(config, trained_on=TrainedOn(given=loss_of.trains_given)))
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, betas=(0.9, 0.99), weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    generator = torch.Generator().manual_seed(1)
    length = config.max_frames
    for step in range(steps):
        rows = torch.randint(len(data), (batch,), generator=generator)
        starts = torch.randint((data.shape[1] - length) // FRAMES + 1, (batch,), generator=generator) * FRAMES
        latents = torch.stack([data[r, s : s + length] for r, s in zip(rows.tolist(), starts.tolist(), strict=True)])
        examples = LatentBatch(
            latents=latents,
            latent_mask=None,
            tokens=None,
            token_mask=None,
            conditions=Conditions.of([""] * batch, 1.0),
            ids=[""] * batch,
        )
        loss, _ = loss_of(model, examples, step=step, generator=generator)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 200 == 0:
            logger.info("step %d of %d: loss %.3f", step, steps, loss.item())
    return model.eval()


def share_right(
    model: DiffusionTransformer, kept: list[int], draws: int, chunks: int = CHUNKS, steps: int = 20
) -> float:
    """Share of draws around the `kept` chunks of each piece that are nearest to that piece where they are sampled.

    Args:
        model: the generator.
        kept: chunks that are given.
        draws: for each piece.
        chunks: length of every second item; the others have all seven.
        steps: of sampling.
    """
    data = pieces()
    rows = torch.arange(PIECES).repeat_interleave(draws)
    lengths = torch.tensor([CHUNKS if row % 2 == 0 else chunks for row in range(len(rows))]) * FRAMES * SPEC.hop_samples
    keep = torch.zeros(1, CHUNKS, dtype=torch.bool)
    keep[:, kept] = True
    encoded = Encoded(latents=data[rows], tokens=torch.zeros(len(rows), 1, 1).long(), lengths_samples=lengths)
    latents = model.sample(
        Conditions.of([""] * len(rows), 1.0),
        lengths,
        sampling=model.make_sampling({"num_inference_steps": steps}),
        given=Given(encoded=encoded, keep=keep),
        generator=torch.Generator().manual_seed(2),
    ).latents
    assert latents is not None
    right = 0
    for row, piece in enumerate(rows.tolist()):
        sampled = ~keep[0].repeat_interleave(FRAMES)
        sampled[int(lengths[row]) // SPEC.hop_samples :] = False
        distances = (data[:, sampled] - latents[row, sampled]).square().mean((1, 2))
        right += int(distances.argmin()) == piece
    return right / len(rows)


def compare_given(steps: int, draws: int) -> dict[str, dict[str, float]]:
    """The table of tasks: share of right draws by how the generator was trained."""
    table: dict[str, dict[str, float]] = {}
    for name, patterns in (("keep patterns", KeepPatterns()), ("replacement", NO_PATTERNS)):
        model = train(CONFIG, RectifiedFlowConfig(keep_patterns=patterns), pieces(), steps)
        for task, kept in TASKS.items():
            table.setdefault(task, {})[name] = share_right(model, kept, draws)
        table.setdefault("continued after 3 of 7 and of 5", {})[name] = share_right(model, [0, 1, 2], draws, chunks=5)
    return table


def endless_pieces() -> Tensor:
    """Eight pieces of five chunks, over and over, [8, T, D]."""
    loop = torch.randn(PIECES, PERIOD * FRAMES, DIM, generator=torch.Generator().manual_seed(0))
    return loop.repeat(1, 4, 1)


def drift(model: DiffusionTransformer, past_noise: float, blocks: int, steps: int = 20) -> tuple[float, float]:
    """Root mean square distance of streamed chunks to the nearest chunk of the data, in the first and last tenth."""
    known = endless_pieces()[:, : PERIOD * FRAMES].unflatten(1, (PERIOD, FRAMES)).flatten(0, 1).flatten(1)  # [40, 12]
    stream = model.open_stream(
        Conditions.of([""] * PIECES, 1.0),
        sampling=model.make_sampling({"num_inference_steps": steps, "past_noise": past_noise}),
        generator=torch.Generator().manual_seed(3),
    )
    distances = []
    for _ in range(blocks):
        chunk = stream.next_block().flatten(1)  # [8, 12]
        distances.append(torch.cdist(chunk, known).min(1).values.mean() / chunk.shape[1] ** 0.5)
    tenth = max(1, blocks // 10)
    return float(torch.stack(distances[:tenth]).mean()), float(torch.stack(distances[-tenth:]).mean())


def compare_drift(steps: int, blocks: int) -> dict[str, dict[str, float]]:
    """Distances early and late, by the noise of the past in training and in sampling."""
    causal = replace(CONFIG, attention="chunk_causal", max_frames=8 * FRAMES, past_blocks=4)
    table = {}
    for trained in (0.0, 0.3):
        model = train(causal, RectifiedFlowConfig(past_noise=trained), endless_pieces(), steps)
        for sampled in (0.0, 0.1) if trained else (0.0,):
            early, late = drift(model, sampled, blocks)
            table[f"trained {trained:g}, sampled {sampled:g}"] = {"early": early, "late": late}
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--draws", type=int, default=12, help="for each piece and task")
    parser.add_argument("--drift", action="store_true")
    parser.add_argument("--blocks", type=int, default=200, help="of a stream, with --drift")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if arguments.drift:
        table = compare_drift(arguments.steps, arguments.blocks)
    else:
        table = compare_given(arguments.steps, arguments.draws)
    result = {"table": table, "cpu_s": round(time.process_time(), 1), **vars(arguments)}
    if arguments.output:
        write_json(arguments.output, {key: str(value) if key == "output" else value for key, value in result.items()})
    logger.info("%s", json.dumps(table, indent=2))


if __name__ == "__main__":
    main()
