"""The cost of fewer passes: token after token, patches, and sets in parallel, on a toy whose distribution is known.

    python demos/bench/set_passes.py --steps 400

An item has chunks of 32 tokens of 8 levels. A chunk has a state of 4, which moves on by one with probability 0.93; its
first 16 tokens are drawn around twice the state, and each of the last 16 is one of the first plus the state: a strong
bond between tokens far apart, which tokens that are drawn in one pass cannot keep. Three models are trained for as many
steps on fresh examples: one token per step, patches of 4 tokens, and sets. The table says how many of the bonds hold,
how often the state moves on by one, how far the levels' frequencies are from the true ones (total variation), and the
passes of the network and process seconds for each chunk. `--speed` only takes the time of a chunk of 128 tokens of one
item, by random weights of the size of `set-lm-small`.
"""

from __future__ import annotations

import argparse
import json
import logging
import time
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from latentune.generators.base import LatentBatch, TokenizerBinding
from latentune.generators.conditioning import ConditioningConfig
from latentune.generators.conditions import Conditions
from latentune.generators.language import TokenLM, TokenLMConfig, TokenSetLM, TokenSetLMConfig
from latentune.tokenizers.base import TokenizerSpec

logger = logging.getLogger("set_passes")
LEVELS, STATES, HALF, CHUNKS, MOVES = 8, 4, 16, 4, 0.9
SIZE = 2 * HALF  # tokens of a chunk
SPEC = TokenizerSpec(
    name="toy",
    sample_rate=1000,
    channels=1,
    hop_samples=10,
    latent_dim=1,
    levels=((LEVELS,),),
    token_hop_samples=10,
    chunk_latents=SIZE,
    chunk_tokens=SIZE,
    overlap_samples=0,
)


def level_probabilities() -> Tensor:
    """Probabilities [states, levels] of the first tokens of a chunk."""
    distance = (torch.arange(LEVELS) - 2 * torch.arange(STATES)[:, None]) % LEVELS
    return torch.softmax(-0.7 * torch.minimum(distance, LEVELS - distance).float(), -1)


def draw(items: int, random: torch.Generator) -> Tensor:
    """True items, tokens [items, chunks * size, 1]."""
    steps = 1 + (torch.rand(items, CHUNKS, generator=random) >= MOVES) * torch.randint(
        0, STATES - 1, (items, CHUNKS), generator=random
    )
    state = (torch.randint(STATES, (items, 1), generator=random) + steps.cumsum(1)) % STATES
    rows = level_probabilities()[state].flatten(0, 1)
    first = torch.multinomial(rows, HALF, replacement=True, generator=random).view(items, CHUNKS, HALF)
    return torch.cat([first, (first + state[..., None]) % LEVELS], -1).flatten(1)[..., None]


def figures(tokens: Tensor) -> dict[str, float]:
    """Bonds that hold, moves of the state, distance of frequencies."""
    first, last = tokens.view(-1, CHUNKS, 2, HALF).unbind(2)
    holds = ((first[..., None] + torch.arange(STATES)) % LEVELS == last[..., None]).float().mean(2)  # [B, C, states]
    bonds, state = holds.max(-1)
    moved = (state[:, 1:] - state[:, :-1]) % STATES == 1
    found = torch.bincount(tokens.flatten(), minlength=LEVELS) / tokens.numel()
    true = torch.bincount(draw(4000, torch.Generator().manual_seed(99)).flatten(), minlength=LEVELS).float()
    return {
        "bonds": bonds.mean().item(),
        "moves": moved.float().mean().item(),
        "tv": 0.5 * (found - true / true.sum()).abs().sum().item(),
    }


def build(kind: str, spec: TokenizerSpec = SPEC, **sizes: int) -> Any:
    torch.manual_seed(0)
    options: dict[str, Any] = {
        "binding": TokenizerBinding(spec=spec, fingerprint="0" * 64),
        "width": 64,
        "depth": 2,
        "heads": 2,
        "digit_width": 64,
        "max_frames": CHUNKS * SIZE,
        "conditioning": ConditioningConfig(width=8, conditioners={"seconds": {"kind": "seconds"}}),
        **sizes,
    }
    if kind == "sets":
        return TokenSetLM(TokenSetLMConfig(**options))
    return TokenLM(TokenLMConfig(**options, patch_frames=4 if kind == "patches of 4" else 1))


def train(model: Any, steps: int, batch: int = 16) -> float:
    """Trains, and returns the mean loss of the last 50 steps, in nats per token."""
    kind = next(iter(model.objectives))
    objective_class = model.objective_class(kind)
    objective = objective_class(objective_class.config_class(), model.settings)
    random, losses = torch.Generator().manual_seed(0), []
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps, pct_start=0.1)
    for step in range(steps):
        items = LatentBatch(
            latents=None,
            latent_mask=None,
            tokens=draw(batch, random),
            token_mask=None,
            conditions=Conditions.of([""] * batch, 1.28),
            ids=[""] * batch,
        )
        loss, _ = objective(model, items, step=step, generator=random)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    model.eval()
    return sum(losses[-50:]) / len(losses[-50:])


def measured(model: Any, items: int, **options: Any) -> dict[str, float]:
    start = time.process_time()
    lengths = torch.full((items,), CHUNKS * SPEC.chunk_samples)
    made = model.sample(
        Conditions.of([""] * items, 1.28),
        lengths,
        sampling=model.make_sampling(options),
        generator=torch.Generator().manual_seed(1),
    )
    seconds = time.process_time() - start
    return {**figures(made.tokens), "seconds": seconds / CHUNKS}


def chunk_seconds(passes: int) -> dict[str, float]:
    """Name of the model -> process seconds of a chunk of 128 tokens of four digits, one item of four chunks."""
    spec = replace(SPEC, levels=((11, 11, 11, 11),), chunk_tokens=128, chunk_latents=128)
    found = {}
    for kind, options in (("one by one", {}), ("sets", {"num_passes": passes})):
        model = build(kind, spec, width=256, depth=4, heads=4, digit_width=128, max_frames=512).eval()
        start = time.process_time()
        model.sample(
            Conditions.of([""], 5.12),
            torch.tensor([4 * spec.chunk_samples]),
            sampling=model.make_sampling(options),
            generator=torch.Generator().manual_seed(0),
        )
        found[kind] = (time.process_time() - start) / 4
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--items", type=int, default=64)
    parser.add_argument("--passes", type=int, nargs="+", default=[1, 2, 4, 8, 12, 32])
    parser.add_argument("--speed", action="store_true")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)
    if args.speed:
        logger.info("seconds of a chunk, 12 passes: %s", json.dumps(chunk_seconds(12)))
        return
    logger.info("true: %s", json.dumps(figures(draw(args.items, torch.Generator().manual_seed(5)))))
    for kind in ("one by one", "patches of 4", "sets"):
        model, start = build(kind), time.process_time()
        loss = train(model, args.steps)
        logger.info("%s: %.3f nats per token after %.0f s", kind, loss, time.process_time() - start)
        if kind != "sets":
            logger.info("%s: %s", kind, json.dumps(measured(model, args.items)))
            continue
        for order in ("confidence", "random"):
            for passes in args.passes:
                found = measured(model, args.items, num_passes=passes, order=order)
                logger.info("sets, %s, %d passes and 1 to keep the chunk: %s", order, passes, json.dumps(found))
        found = measured(model, args.items, num_passes=SIZE, order="in_order")
        logger.info("sets, in order, one by one: %s", json.dumps(found))


if __name__ == "__main__":
    main()
