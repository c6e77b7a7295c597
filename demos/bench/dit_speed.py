"""Our diffusion transformer compared with diffusers' `StableAudioDiTModel` of the same width, depth and size.

    make bench        or        python demos/bench/dit_speed.py --width 512 --depth 8 --frames 256 --repeats 5

Both do a training step (forward and backward pass) and a step of sampling with guidance (a forward pass of twice the
items), on the same number of latent frames and condition tokens, with one thread, in fp32, in turn in one run. Ours
also trains with frames that are given, which have a time of their own; theirs has one time for all. Seconds are those
of the process, so that other programs count less; the ratio of medians is reported.
"""

from __future__ import annotations

import argparse
import json
import logging
import time
from collections.abc import Callable
from typing import Any

import torch
from diffusers import StableAudioDiTModel
from timing import median_seconds
from torch import Tensor, nn

from latentune.generators.base import TokenizerBinding
from latentune.generators.conditioning import ConditioningConfig, EncodedConditions
from latentune.generators.diffusion import DiffusionTransformer, DiffusionTransformerConfig
from latentune.generators.diffusion.frame_times import FrameTimes
from latentune.tokenizers.base import TokenizerSpec

logger = logging.getLogger("dit_speed")
LATENT_DIM, TOKENS, HEAD_DIM = 64, 16, 64  # width of the latents, condition tokens of an item, width of a head
SPEC = TokenizerSpec(
    name="bench",
    sample_rate=48_000,
    channels=2,
    hop_samples=2048,
    latent_dim=LATENT_DIM,
    levels=(),
    token_hop_samples=2048,
    chunk_latents=1,
    chunk_tokens=1,
    overlap_samples=0,
)


def theirs(width: int, depth: int) -> Any:
    return StableAudioDiTModel(
        in_channels=LATENT_DIM,
        out_channels=LATENT_DIM,
        num_layers=depth,
        attention_head_dim=HEAD_DIM,
        num_attention_heads=width // HEAD_DIM,
        num_key_value_attention_heads=width // HEAD_DIM,
        cross_attention_dim=width,
        cross_attention_input_dim=width,
        global_states_input_dim=width,
    )


def ours(width: int, depth: int, mlp_ratio: float) -> Any:
    binding = TokenizerBinding(
        spec=SPEC, fingerprint="0" * 64, latent_mean=(0.0,) * LATENT_DIM, latent_std=(1.0,) * LATENT_DIM
    )
    text = {"kind": "bytes", "layers": 1, "heads": 1, "num_tokens": TOKENS}  # encoded before, as theirs is
    return DiffusionTransformer(
        DiffusionTransformerConfig(
            binding=binding,
            width=width,
            depth=depth,
            heads=width // HEAD_DIM,
            mlp_ratio=mlp_ratio,
            conditioning=ConditioningConfig(width=width, conditioners={"text": text}),
        )
    )


def size(model: nn.Module) -> int:
    """Parameters, without the text encoder."""
    return sum(p.numel() for name, p in model.named_parameters() if not name.startswith("condition_encoder."))


def of_equal_size(width: int, depth: int) -> tuple[Any, Any]:
    """Both models; the hidden width of our MLP is what makes them equal."""
    other = theirs(width, depth)
    smaller, larger = (size(ours(width, depth, ratio)) for ratio in (1.0, 2.0))
    ratio = 1.0 + (size(other) - smaller) / (larger - smaller)
    return ours(width, depth, ratio), other


def contenders(
    width: int, depth: int, batch: int, frames: int, compiled: bool = False
) -> dict[str, dict[str, Callable[[], Tensor]]]:
    """Name of the work -> name of the model -> a call that does it."""
    own, other = of_equal_size(width, depth)
    if compiled:
        own.compile()
        other.compile()
    logger.info("parameters: ours %.2f M, theirs %.2f M", size(own) / 1e6, size(other) / 1e6)
    turn = torch.randn(frames + 1, HEAD_DIM // 2)  # theirs puts the global condition before the frames
    angles = (turn.cos(), turn.sin())

    def run_ours(items: int, given: bool = False) -> Tensor:
        conditions = EncodedConditions(
            global_vector=torch.randn(items, width), tokens=torch.randn(items, TOKENS, width)
        )
        times = FrameTimes.of(torch.rand(items))
        if given:
            times = times.given(torch.arange(frames).expand(items, frames) < frames // 3)
        made: Tensor = own(torch.randn(items, frames, LATENT_DIM), times, conditions=conditions)
        return made

    def run_theirs(items: int) -> Tensor:
        made: Tensor = other(
            torch.randn(items, LATENT_DIM, frames),
            torch.rand(items),
            encoder_hidden_states=torch.randn(items, TOKENS, width),
            global_hidden_states=torch.randn(items, 1, width),
            rotary_embedding=angles,
            return_dict=False,
        )[0]
        return made

    def train(run: Callable[[int], Tensor]) -> Tensor:
        loss = run(batch).square().mean()
        loss.backward()
        return loss

    def sample(run: Callable[[int], Tensor]) -> Tensor:
        with torch.inference_mode():
            return run(2 * batch)

    models = {"ours": run_ours, "theirs": run_theirs}
    return {
        "training step": {name: lambda run=run: train(run) for name, run in models.items()},  # type: ignore[misc]
        "training step, a third of the frames given": {
            "ours": lambda: train(lambda items: run_ours(items, given=True)),
            "theirs": lambda: train(run_theirs),
        },
        "sampling step": {name: lambda run=run: sample(run) for name, run in models.items()},  # type: ignore[misc]
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (("width", 512), ("depth", 8), ("batch", 2), ("frames", 256), ("repeats", 5)):
        parser.add_argument(f"--{name}", type=int, default=value)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    found: dict[str, dict[str, float]] = {}
    for work, calls in contenders(args.width, args.depth, args.batch, args.frames).items():
        for call in calls.values():
            call()
        seconds = median_seconds(calls, args.repeats, clock=time.process_time)
        found[work] = {**seconds, "ratio": seconds["ours"] / seconds["theirs"]}
        logger.info("%s: ours %.3f s, theirs %.3f s, ratio %.2f", work, *found[work].values())
    logger.info("%s", json.dumps(found))


if __name__ == "__main__":
    main()
