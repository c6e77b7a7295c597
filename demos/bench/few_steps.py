"""Measures sampling in few steps: `python demos/bench/few_steps.py [--teacher FOLDER --student FOLDER --dataset DATA]`,
or `python demos/bench/few_steps.py --generator FOLDER --generator FOLDER`.

Without folders, a small transformer learns a mixture of eight short sequences by rectified flow, is trained on by mean
flow in several variants, and the energy distance of 512 samples to the data is measured by the number of steps. With
folders of generators it is the Fréchet distance between Gaussians of eight-frame means of latents, sampled and those of
a dataset. With `--generator`, each generator is compared with its own samples in many steps from the same noise: how
well it bears fewer steps, such as on the latents of codecs that were trained with and without FSQ-dropout. Every row
goes to stdout as a line of JSON.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from training_times import NOTHING_GIVEN, Problem, conditions, toy, trained

from latentune import LatentDataset, load_generator
from latentune.generators.base import LatentBatch
from latentune.generators.conditions import Conditions
from latentune.generators.diffusion import DiffusionTransformer, MeanFlowConfig, MeanFlowObjective
from latentune.generators.parts.normalise import normalise

VARIANTS: dict[str, dict[str, Any]] = {
    "exact derivative": {"derivative": "exact"},
    "exact derivative, distilled": {"derivative": "exact", "distill": True},
    "difference 0.005": {"difference_step": 0.005},
    "difference 0.005, distilled": {"difference_step": 0.005, "distill": True},
    "difference 0.02, distilled": {"difference_step": 0.02, "distill": True},
    "difference 0.05, distilled": {"difference_step": 0.05, "distill": True},
}
SOLVERS: dict[str, dict[str, Any]] = {
    "midpoint 16": {"solver": "midpoint", "num_inference_steps": 16},
    **{f"euler {steps}": {"solver": "euler", "num_inference_steps": steps} for steps in (1, 2, 4, 8)},
}
FEW: dict[str, dict[str, Any]] = {f"mean_flow {steps}": {"num_inference_steps": steps} for steps in (1, 2, 4, 8)}
REFERENCE_STEPS = 64  # of the midpoint rule, with which each generator is compared
FEWER_STEPS = (1, 2, 4, 8, 16, 32)
MEAN_FRAMES = 8  # latent frames of a mean
TEACHER_STEPS = 1000  # of training on the toy, by rectified flow


def mean_flow(
    problem: Problem, teacher: DiffusionTransformer, options: dict[str, Any], steps: int
) -> DiffusionTransformer:
    """A copy of the teacher that was trained on by mean flow; its weights are averaged over the last steps."""
    torch.manual_seed(0)
    network: Any = copy.deepcopy(teacher).train()
    network.replace_settings(trained_on=replace(network.trained_on, conditions=("seconds",)))
    objective = MeanFlowObjective(MeanFlowConfig(keep_patterns=NOTHING_GIVEN, **options), network.settings)
    objective.prepare(network)
    averaged = copy.deepcopy(network)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    generator = torch.Generator().manual_seed(0)
    for step in range(steps):
        batch = LatentBatch(
            latents=problem.draw(problem.batch, generator, False),
            latent_mask=None,
            tokens=None,
            token_mask=None,
            conditions=conditions(problem, problem.batch),
            ids=[""] * problem.batch,
        )
        loss, _ = objective(network, batch, step=step, generator=generator)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            for mine, theirs in zip(averaged.parameters(), network.parameters(), strict=True):
                mine.lerp_(theirs, max(0.01, 9 / (10 + step)))
    made: DiffusionTransformer = averaged.eval()
    return made


def energy_distance(problem: Problem, model: DiffusionTransformer, options: dict[str, Any]) -> float:
    """Energy distance of 512 samples to the data, normalised latents."""
    generator = torch.Generator().manual_seed(7)
    made = model.sample(
        conditions(problem, 512),
        torch.full((512,), problem.frames * problem.binding.spec.hop_samples),
        sampling=model.make_sampling(options),
        generator=generator,
    )
    assert made.latents is not None
    one, other = (normalise(x, model.binding).flatten(1) for x in (made.latents, problem.draw(512, generator, True)))
    inside = (torch.pdist(one).mean() + torch.pdist(other).mean()) / 2
    return round(float(torch.cdist(one, other).mean() - inside), 4)


def toy_rows(steps: int) -> Iterator[dict[str, Any]]:
    """The teacher by solver, then each variant by the number of steps, with the CPU seconds of its training."""
    problem = replace(toy(), steps=TEACHER_STEPS)
    teacher = trained(problem, {}, 0)
    yield {"what": "teacher", **{name: energy_distance(problem, teacher, options) for name, options in SOLVERS.items()}}
    for name, options in VARIANTS.items():
        start = time.process_time()
        student = mean_flow(problem, teacher, options, steps)
        spent = round(time.process_time() - start, 1)
        distances = {few: energy_distance(problem, student, chosen) for few, chosen in FEW.items()}
        yield {"what": name, "training_cpu_s": spent, **distances}


def frechet(one: Tensor, other: Tensor) -> float:
    """Fréchet distance between Gaussians with the moments of vectors [N, D] and [M, D]."""
    (mean_a, cov_a), (mean_b, cov_b) = ((x.double().mean(0), x.double().T.cov()) for x in (one, other))
    # the trace of the root of a product is that of its eigenvalues' roots
    roots = torch.linalg.eigvals(cov_a @ cov_b).real.clamp_min(0).sqrt().sum()
    return round(float((mean_a - mean_b).square().sum() + cov_a.trace() + cov_b.trace() - 2 * roots), 4)


def short_means(latents: Tensor) -> Tensor:
    """Means [N, D] of eight frames each of latents [B, T, D]."""
    whole = latents[:, : latents.shape[1] // MEAN_FRAMES * MEAN_FRAMES]
    return whole.unflatten(1, (-1, MEAN_FRAMES)).mean(2).flatten(0, 1)


def latent_rows(arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Teacher and student by solver and steps: distance to the dataset and to the teacher's samples in many steps from
    the same noise, and CPU seconds for a second of sound.
    """
    dataset = LatentDataset(arguments.dataset)
    teacher, student = (load_generator(folder).float() for folder in (arguments.teacher, arguments.student))
    latents = [dataset[number].latents for number in range(0, len(dataset), max(1, len(dataset) // arguments.items))]
    if any(x is None for x in latents):
        raise SystemExit(f"{arguments.dataset} has no latents: encode it with its latent stream")
    real = torch.cat([short_means(normalise(x[None].float(), teacher.binding)) for x in latents if x is not None])
    yield {"what": "halves of the data", "frechet": frechet(real[::2], real[1::2])}
    jobs = [("teacher", teacher, SOLVERS), ("student", student, FEW)]
    finest: Tensor | None = None  # the teacher's samples in many steps
    for who, model, solvers in jobs:
        for name, options in solvers.items():
            start = time.process_time()
            drawn = torch.cat([_draw(model, arguments, options, seed) for seed in range(arguments.repeats)])
            spent = time.process_time() - start
            made = drawn.shape[0] * arguments.seconds
            finest = drawn if finest is None else finest
            yield {
                "what": f"{who}, {name}",
                "frechet": frechet(short_means(drawn), real),
                "frechet_from_midpoint_16": frechet(short_means(drawn), short_means(finest)),
                "rms_from_midpoint_16": round(float((drawn - finest).square().mean().sqrt()), 4),
                "deviation": round(float(drawn.std()), 3),
                "cpu_s_per_s": round(spent / made, 4),
            }


def robustness_rows(arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Each generator by steps of its solver: distances to its own samples in many steps, in normalised latents."""
    for folder in arguments.generator:
        model = load_generator(folder)
        if not isinstance(model, DiffusionTransformer):
            raise SystemExit(f"{folder} holds a {type(model).__name__}, which has no denoising steps to reduce")
        model = model.float()
        jobs = {"reference": {"solver": "midpoint", "num_inference_steps": REFERENCE_STEPS}}
        jobs |= {str(n): {"solver": arguments.solver, "num_inference_steps": n} for n in FEWER_STEPS}
        finest: Tensor | None = None
        for steps, options in jobs.items():
            drawn = torch.cat([_draw(model, arguments, options, seed) for seed in range(arguments.repeats)])
            if finest is None:
                finest = drawn
                continue
            yield {
                "what": folder,
                "solver": arguments.solver,
                "steps": int(steps),
                "frechet_from_reference": frechet(short_means(drawn), short_means(finest)),
                "rms_from_reference": round(float((drawn - finest).square().mean().sqrt()), 4),
                "deviation": round(float(drawn.std()), 3),
            }


def _draw(model: DiffusionTransformer, arguments: argparse.Namespace, options: dict[str, Any], seed: int) -> Tensor:
    count = 8
    usual = [model.trained_on.seconds_of(arguments.seconds)] * count
    lengths = torch.full((count,), round(arguments.seconds * model.binding.spec.sample_rate))
    with torch.inference_mode():
        made = model.sample(
            Conditions(values={"seconds": usual}),
            lengths,
            sampling=model.make_sampling(options),
            generator=torch.Generator().manual_seed(seed),
        )
    assert made.latents is not None
    latents: Tensor = normalise(made.latents, model.binding)
    return latents


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=300, help="of training on the toy, by mean flow")
    parser.add_argument("--teacher", help="folder of a rectified-flow generator")
    parser.add_argument("--student", help="folder of the same, trained on by mean flow")
    parser.add_argument("--generator", action="append", help="folder or name of a generator that bears fewer steps")
    parser.add_argument("--solver", default="euler", help="of --generator's fewer steps")
    parser.add_argument("--dataset", help="latents to compare with")
    parser.add_argument("--items", type=int, default=50, help="of the dataset, at most")
    parser.add_argument("--repeats", type=int, default=8, help="batches of 8 samples")
    parser.add_argument("--seconds", type=float, default=1.28, help="length of a sample")
    arguments = parser.parse_args()
    if arguments.generator:
        rows = robustness_rows(arguments)
    else:
        rows = toy_rows(arguments.steps) if arguments.student is None else latent_rows(arguments)
    for row in rows:
        sys.stdout.write(json.dumps(row) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
