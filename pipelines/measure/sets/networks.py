"""Which networks an evaluation needs, loaded: the embedder, a classifier for kl, CLAP for clap-score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ....core.device import pick_device
from ....core.errors import ConfigError
from ..embedders import Embedder
from .config import EvaluateConfig
from .embed import EmbedderChoice
from .metrics import Metric, Role

if TYPE_CHECKING:
    from ....generators.conditioning.frozen.clap_text import ClapTextEncoder

CLASSIFIER = "yamnet"  # where the embedder itself has none


@dataclass(frozen=True, kw_only=True)
class Network:
    """An embedder, and how another process loads the same."""

    embedder: Embedder
    choice: EmbedderChoice | None  # None: it was handed over loaded


def load_networks(
    config: EvaluateConfig, metrics: Sequence[Metric], embedder: Embedder | None = None
) -> dict[Role, Network]:
    """Loads a network for each role that the metrics ask for; one that has two roles is the same object.

    Args:
        config: names the networks.
        metrics: ask for roles.
        embedder: one that is loaded already, in place of the config's.

    Returns:
        The network of each role.

    Raises:
        ConfigError: an unknown name, or a checkpoint that is missing or too many.
        CheckpointError: a checkpoint that cannot be used.
    """
    main = _embedder(config) if embedder is None else Network(embedder=embedder, choice=None)
    networks: dict[Role, Network] = {"embedder": main}
    roles = {metric.role for metric in metrics}
    if "classifier" in roles:
        wanted = config.classifier
        if wanted == main.embedder.name or (wanted == "auto" and main.embedder.num_classes is not None):
            networks["classifier"] = main
        else:
            networks["classifier"] = _load(config, CLASSIFIER if wanted == "auto" else wanted, None)
    if "clap" in roles:
        if main.embedder.name.startswith("clap"):
            networks["clap"] = main
        else:
            networks["clap"] = _load(config, "clap", config.clap_checkpoint)
    return networks


def load_text_encoder(
    config: EvaluateConfig, metrics: Sequence[Metric], networks: dict[Role, Network]
) -> ClapTextEncoder | None:
    """Loads CLAP's text side where a metric embeds prompts.

    Args:
        config: says where its tokenizer is.
        metrics: of the evaluation.
        networks: of which CLAP's checkpoint is used.

    Returns:
        The text encoder, or None where no metric needs it.

    Raises:
        CheckpointError: the checkpoint has no text side.
    """
    if not any(metric.texts for metric in metrics):
        return None
    from ....generators.conditioning.frozen.clap_text import ClapTextEncoder

    clap = networks["clap"].embedder
    return ClapTextEncoder.from_checkpoint(clap.source, config.clap_tokenizer).to(clap.device)


def _embedder(config: EvaluateConfig) -> Network:
    name, checkpoint = config.embedder, config.checkpoint
    if config.clap_checkpoint is not None and (name == "auto" or name.startswith("clap")):
        if checkpoint is not None:
            raise ConfigError("checkpoint and clap_checkpoint are both given: name the embedder that checkpoint is of")
        name, checkpoint = "clap" if name == "auto" else name, config.clap_checkpoint
    elif config.clap_checkpoint is not None and "clap-score" not in config.metrics:
        raise ConfigError(f"clap_checkpoint is given, but the embedder is {name}: choose embedder clap or auto")
    return _load(config, name, checkpoint)


def _load(config: EvaluateConfig, name: str, checkpoint: str | None) -> Network:
    device = str(pick_device(config.own_device()))
    choice = EmbedderChoice(name=name, checkpoint=checkpoint, overlap=config.window_overlap, precision=config.precision)
    return Network(embedder=choice.load(device), choice=choice)
