"""The official NeuCodec classes (PyPI `neucodec` 0.0.6) as a peer: built at full size with seeded random weights.

Used by the benchmark. The package pins an old vector-quantize-pytorch, whose quantiser later versions do not have, so
it goes into a folder of its own: `make bench` installs it there, without its requirements, and puts that folder first.
Of torchtune it needs one class, which is read out of its file: the package asks for much that is not needed here.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import types
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from transformers import (
    HubertConfig,
    HubertModel,
    SeamlessM4TFeatureExtractor,
    Wav2Vec2BertConfig,
    Wav2Vec2BertModel,
    Wav2Vec2FeatureExtractor,
)

SAMPLE_RATE, HOP_SAMPLES = 24000, 480  # of the released decoder
# what the constructors would fetch from the hub: config and front end of both semantic encoders
W2V_BERT = Wav2Vec2BertConfig(hidden_act="swish", position_embeddings_type="relative_key", output_hidden_states=True)
DISTIL_HUBERT = HubertConfig(num_hidden_layers=2, feat_proj_layer_norm=False, output_hidden_states=True)
DISTIL_FRONT_END = {"do_normalize": False, "return_attention_mask": False}


def official_module() -> Any:
    """The module `neucodec.model`.

    Raises:
        ImportError: the package, or torchtune, is not installed.
    """
    for name in ("neucodec", "torchtune"):
        if importlib.util.find_spec(name) is None:
            raise ImportError(f"{name} is not installed: `make bench` installs what the official NeuCodec needs")
    torchtune = importlib.util.find_spec("torchtune")
    assert torchtune is not None
    assert torchtune.submodule_search_locations
    path = Path(torchtune.submodule_search_locations[0]) / "modules/position_embeddings.py"
    spec = importlib.util.spec_from_file_location("torchtune.modules", path)
    assert spec is not None
    assert spec.loader is not None
    modules = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(modules)
    with mock.patch.dict(sys.modules, {"torchtune": types.ModuleType("torchtune"), "torchtune.modules": modules}):
        return importlib.import_module("neucodec.model")


@torch.no_grad()
def official_codec(name: str, seed: int) -> Any:
    """The official `NeuCodec` or `DistillNeuCodec` in eval mode, with seeded random weights.

    Its quantiser's input is brought to mean 0 and deviation 1 on noise, so that all levels occur.
    """
    module = official_module()
    torch.manual_seed(seed)
    if name == "NeuCodec":
        semantic: nn.Module = Wav2Vec2BertModel(W2V_BERT)
        front_end: Any = SeamlessM4TFeatureExtractor(padding_value=1)
    else:
        semantic, front_end = HubertModel(DISTIL_HUBERT), Wav2Vec2FeatureExtractor(**DISTIL_FRONT_END)
    with (
        mock.patch.object(type(semantic), "from_pretrained", return_value=semantic),
        mock.patch.object(module.AutoFeatureExtractor, "from_pretrained", return_value=front_end),
    ):
        codec = getattr(module, name)(SAMPLE_RATE, HOP_SAMPLES).eval()
    _calibrate(codec)
    return codec


def _calibrate(codec: Any) -> None:
    seen: list[Tensor] = []
    project = codec.generator.quantizer.project_in
    hook = project.register_forward_hook(lambda module, inputs, output: seen.append(output.flatten(0, -2)))
    codec.encode_code(0.1 * torch.randn(1, 1, 32000, generator=torch.Generator().manual_seed(0)))
    hook.remove()
    mean, deviation = seen[0].mean(0), seen[0].std(0)
    project.weight /= deviation[:, None]
    project.bias.copy_((project.bias - mean) / deviation)


def save_official(codec: Any, folder: Path) -> None:
    """Write the weights as the official release has them, and the semantic encoder's next to them."""
    state = {key: tensor for key, tensor in codec.state_dict().items() if not key.startswith("semantic_model.")}
    torch.save(state, folder / "pytorch_model.bin")
    codec.semantic_model.save_pretrained(folder / "semantic")
