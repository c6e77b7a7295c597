"""The token language model compared with transformers' `generate` on a Llama of the same width, depth and heads.

    make bench        or        python demos/bench/lm_speed.py --width 256 --depth 4 --heads 4 --frames 64

Both sample at temperature 1 from a vocabulary of 14,641 tokens, for which the Llama has a table and ours four digits of
11 levels, with the hidden width of the MLP that is ours by default. The Llama has transformers' static cache. All run
in turn in one run, with one thread, in fp32; seconds are those of the process, so that other programs count less.
`--patch` adds our model with that many token frames per step, and `--positions` the time of a step there. `--compile`
compiles both: the Llama by `torch.compile`, ours as `compile: true` does.
"""

from __future__ import annotations

import argparse
import json
import logging
import time
from collections.abc import Callable
from typing import Any

import torch
from timing import median_seconds
from torch import nn

from latentune.core.compute import compile_model
from latentune.generators.base import TokenizerBinding
from latentune.generators.conditioning import ConditioningConfig
from latentune.generators.conditions import Conditions
from latentune.generators.language import TokenLM, TokenLMConfig
from latentune.generators.language.context import Context
from latentune.generators.language.sampling import TokenSampling
from latentune.tokenizers.base import TokenizerSpec

logger = logging.getLogger("lm_speed")
LEVELS, HOP, CONTEXT, MLP_RATIO = (11, 11, 11, 11), 1024, 2048, 2.75
SPEC = TokenizerSpec(
    name="bench",
    sample_rate=48_000,
    channels=2,
    hop_samples=HOP,
    latent_dim=64,
    levels=(LEVELS,),
    token_hop_samples=HOP,
    chunk_latents=1,
    chunk_tokens=1,
    overlap_samples=0,
)


def theirs(width: int, depth: int, heads: int) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=11**4,
        hidden_size=width,
        num_hidden_layers=depth,
        num_attention_heads=heads,
        intermediate_size=int(MLP_RATIO * width),
        max_position_embeddings=CONTEXT,
    )
    return LlamaForCausalLM(config).eval()


def ours(width: int, depth: int, heads: int, patch: int = 1) -> TokenLM:
    config = TokenLMConfig(
        binding=TokenizerBinding(spec=SPEC, fingerprint="0" * 64),
        width=width,
        depth=depth,
        heads=heads,
        mlp_ratio=MLP_RATIO,
        max_frames=CONTEXT,
        patch_frames=patch,
        conditioning=ConditioningConfig(width=128, conditioners={"seconds": {"kind": "seconds"}}),
    )
    model = TokenLM(config).eval()
    nn.init.normal_(model.head.weight, std=0.05)
    return model


def run_theirs(model: Any, batch: int, frames: int) -> None:
    first = torch.zeros(batch, 1, dtype=torch.int64, device=model.device)
    with torch.inference_mode():
        model.generate(
            first,
            attention_mask=torch.ones_like(first),
            max_new_tokens=frames,
            min_new_tokens=frames,
            do_sample=True,
            top_k=0,
            cache_implementation="static",
            disable_compile=True,
            pad_token_id=0,
        )


def run_ours(model: TokenLM, batch: int, frames: int) -> None:
    asked = Conditions.of([""] * batch, 1.0)
    model.sample(
        asked, torch.full((batch,), frames * HOP, device=model.device), generator=torch.Generator().manual_seed(0)
    )


def milliseconds_at(model: TokenLM, positions: list[int], steps: int = 24) -> dict[int, float]:
    """Position -> milliseconds of a step there, of one item."""
    found = {}
    for position in positions:
        context = Context(model, Conditions.of([""], 1.0), TokenSampling())
        context.feed(torch.zeros(1, position, len(LEVELS), dtype=torch.int64))
        context.draw(torch.rand(1, len(LEVELS)))
        start = time.process_time()
        for _ in range(steps):
            context.draw(torch.rand(1, len(LEVELS)))
        found[position] = 1000 * (time.process_time() - start) / steps
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (("width", 256), ("depth", 4), ("heads", 4), ("frames", 64), ("patch", 4), ("repeats", 3)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--positions", type=int, nargs="*", default=[32, 1000, 1900])
    parser.add_argument(
        "--compile", action="store_true", help="all models, which takes minutes before the first figure"
    )
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    sizes = args.width, args.depth, args.heads
    llama, plain, patched = theirs(*sizes), ours(*sizes), ours(*sizes, patch=args.patch)
    for name, model in (("llama", llama), ("ours", plain)):
        logger.info("%s: %.1f M parameters", name, sum(p.numel() for p in model.parameters()) / 1e6)
    if args.compile:
        llama.forward = torch.compile(llama.forward, dynamic=False)
        for model in (plain, patched):
            compile_model(model)
    found: dict[str, dict[str, float]] = {}
    for batch in args.batches:
        calls: dict[str, Callable[[], None]] = {
            "llama": lambda batch=batch: run_theirs(llama, batch, args.frames),
            "ours": lambda batch=batch: run_ours(plain, batch, args.frames),
            f"patches of {args.patch}": lambda batch=batch: run_ours(patched, batch, args.frames),
        }
        for call in calls.values():
            call()
        seconds = median_seconds(calls, args.repeats, clock=time.process_time)
        found[f"batch {batch}"] = {name: batch * args.frames / taken for name, taken in seconds.items()}
        logger.info("batch %d, tokens/s: %s", batch, json.dumps(found[f"batch {batch}"]))
    found["ms per step"] = {str(place): ms for place, ms in milliseconds_at(plain, args.positions).items()}
    logger.info("%s", json.dumps(found))


if __name__ == "__main__":
    main()
