"""CLAP's audio tower by the original package laion-clap, in place of transformers'.

Importing `laion_clap` loads three tokenizers from a hub, which hangs without a network, so that only its two modules of
the audio tower are imported, from its folder. Shape letters: W windows, N samples of a window, D embedding width.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.machinery import ModuleSpec
from importlib.util import find_spec, module_from_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from torch import Tensor, nn

from ....core.errors import CheckpointError, MissingPackageError
from ....core.extras import install_command
from ....core.weights import describe_keys
from .clap_audio import HOP_SAMPLES, MEL_RANGE_HZ, NUM_MELS, SAMPLE_RATE, WINDOW_SAMPLES
from .clap_weights import FUSION, audio_side, fetch, read_checkpoint

SIZES = {96: "tiny", 128: "base", 256: "large"}  # the package's names of its towers by the width of their patches
ALIAS = "_latentune_laion_clap"  # the package's folder of modules under a name whose import runs none of its code


def load_laion_tower(source: str | Path) -> nn.Module:
    """Loads the audio tower of a laion-clap `.pt` (local, or `owner/name/file.pt` on a hub); its `dim` is D.

    Raises:
        CheckpointError: missing, unreadable, with feature fusion, or keys that do not fit.
        MissingPackageError: laion-clap is not installed.
    """
    htsat = _official_module("htsat")
    path = fetch(source)
    if path is None or path.is_dir():
        raise CheckpointError(f"{source} is not a laion-clap .pt file, which the package laion-clap needs")
    state = audio_side(read_checkpoint(path), path)
    if any(key.startswith(FUSION) for key in state):
        raise CheckpointError(f"{source} is a model with feature fusion: use transformers' network")
    return _AudioTower(htsat, state, source)


class _AudioTower(nn.Module):
    """The package's audio tower and projection, named as in official checkpoints."""

    def __init__(self, htsat: Any, state: dict[str, Tensor], source: str | Path):
        super().__init__()
        try:
            width = len(state["audio_branch.patch_embed.proj.weight"])
            hidden, inner = (state[f"audio_projection.{layer}.weight"] for layer in (0, 2))
            num_classes = len(state["audio_branch.head.weight"])
        except KeyError as error:
            raise CheckpointError(f"no HTSAT audio branch in {source}: it lacks {error}") from error
        if width not in SIZES:
            raise CheckpointError(f"{source} has patches of width {width}, laion-clap's towers have {list(SIZES)}")
        self.dim = len(inner)
        try:
            self.audio_branch = htsat.create_htsat_model(_tower_config(SIZES[width], num_classes))
        except RuntimeError as error:  # the package hides the cause, such as a package that librosa lacks
            reason = error.__context__ or error
            raise MissingPackageError(f"laion-clap cannot build its network here: {reason}") from error
        self.audio_projection = nn.Sequential(
            nn.Linear(hidden.shape[1], hidden.shape[0]), nn.ReLU(), nn.Linear(inner.shape[1], inner.shape[0])
        )
        try:
            missing, unexpected = self.load_state_dict(state, strict=False)
        except RuntimeError as error:  # shapes
            raise CheckpointError(f"weights of {source} do not fit: {' '.join(str(error).split())[:300]}") from error
        if missing or unexpected:
            keys = f"{describe_keys('missing', missing)}, {describe_keys('unexpected', unexpected)}"
            raise CheckpointError(f"weights of {source} do not fit: {keys}")

    def forward(self, windows: Tensor) -> Tensor:
        """Embeddings [W, D] of windows [W, N]."""
        found = self.audio_branch({"waveform": windows}, mixup_lambda=None, device=windows.device)
        projected: Tensor = self.audio_projection(found["embedding"])
        return projected


def _tower_config(size: str, num_classes: int) -> SimpleNamespace:
    """The config that the package's function takes, with the fields of its own class."""
    return SimpleNamespace(
        model_type="HTSAT",
        model_name=size,
        sample_rate=SAMPLE_RATE,
        clip_samples=WINDOW_SAMPLES,
        window_size=1024,
        hop_size=HOP_SAMPLES,
        mel_bins=NUM_MELS,
        fmin=MEL_RANGE_HZ[0],
        fmax=MEL_RANGE_HZ[1],
        audio_length=1024,
        class_num=num_classes,
    )


def _official_module(name: str) -> Any:
    """A module of laion_clap/clap_module, imported without running the code of the packages around it."""
    spec = find_spec("laion_clap")
    if spec is None or spec.origin is None:
        command = install_command("laion_clap", "laion-clap")
        raise MissingPackageError(f"the backend laion-clap needs its package: {command}")
    if ALIAS not in sys.modules:
        package = ModuleSpec(ALIAS, None, is_package=True)
        package.submodule_search_locations = [str(Path(spec.origin).parent / "clap_module")]
        sys.modules[ALIAS] = module_from_spec(package)
    try:
        return import_module(f"{ALIAS}.{name}")
    except ModuleNotFoundError as error:
        raise MissingPackageError(
            f"the backend laion-clap needs {error.name} as well: {install_command('laion_clap', 'laion-clap')}"
        ) from error
