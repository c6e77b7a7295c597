"""See which samples and bins a fresh discriminator feels most: windows of powers of two compared with TAAE's (B.5).

python demos/05_loss_sensitivity.py --output demo_out/sensitivity.png
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from rich import print

from latentune.core.objective import frozen
from latentune.pipelines.measure.metrics import sensitivity
from latentune.pipelines.measure.results.plots import sensitivity_png
from latentune.tokenizers.parts.adversarial import hinge_model_loss
from latentune.tokenizers.taae.discriminator import Discriminator, DiscriminatorConfig

WINDOWS = {"powers of two": (64, 128, 256, 512, 1024, 2048), "inharmonic (TAAE)": (78, 126, 206, 334, 542, 876, 1418)}
SAMPLE_RATE, WINDOW, HOP = 16000, 512, 64  # of the pictures


def gradients_of(windows: tuple[int, ...], options: argparse.Namespace) -> torch.Tensor:
    """Gradients [critics * signals, 1, N] of the adversarial loss of discriminators with random weights, at noise."""
    gradients = []
    for seed in range(options.critics):
        torch.manual_seed(seed)
        critic = Discriminator(DiscriminatorConfig(filters=options.filters, window_samples=windows), 1)
        signals = 0.1 * torch.randn(options.signals, 1, options.samples)
        with frozen(critic):
            made = sensitivity.loss_gradients(lambda audio, critic=critic: hinge_model_loss(critic(audio)), signals)  # type: ignore[misc]
        gradients.append(made / made.abs().mean())
    return torch.cat(gradients)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--critics", type=int, default=16, help="discriminators to average over")
    parser.add_argument("--signals", type=int, default=4, help="noise signals for each")
    parser.add_argument("--samples", type=int, default=8192, help="length of a signal")
    parser.add_argument("--filters", type=int, default=4, help="of each layer of the discriminators")
    parser.add_argument("--output", type=Path, default=Path("demo_out/sensitivity.png"))
    options = parser.parse_args(arguments)
    drawn = {}
    for name, windows in WINDOWS.items():
        gradients, margin = gradients_of(windows, options), max(windows)
        inner = slice(margin, options.samples - margin)  # the ends lie in fewer frames
        of_samples = sensitivity.sample_sensitivity(gradients)[inner]
        drawn[name] = (of_samples, sensitivity.bin_sensitivity(gradients[..., inner], WINDOW, HOP))
        strongest = max(windows, key=lambda window: sensitivity.periodicity(gradients, window // 2, margin))
        percent = 100 * sensitivity.periodicity(gradients, strongest // 2, margin)
        print(f"{name}: {percent:.1f} % of the sensitivity repeats every {strongest // 2} samples")
    options.output.parent.mkdir(parents=True, exist_ok=True)
    sensitivity_png(options.output, drawn, SAMPLE_RATE, WINDOW, HOP)
    print(f"wrote {options.output}")


if __name__ == "__main__":
    main()
