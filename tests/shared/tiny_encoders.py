"""Text encoders and CLAPs of transformers at their smallest size, with random weights in the official layouts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tokenizers
import torch
import transformers

WORDS = ("<s>", "<pad>", "</s>", "<unk>", "a", "dog", "cat", "barks", "piano", "slow", "loud", "rain")
CLAP_AUDIO: dict[str, Any] = {
    "patch_embeds_hidden_size": 8,
    "depths": [1, 1],
    "num_attention_heads": [2, 4],
    "hidden_size": 16,
    "projection_dim": 12,
}
CLAP_TEXT: dict[str, Any] = {
    "vocab_size": len(WORDS),
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 1,
    "intermediate_size": 24,
    "max_position_embeddings": 96,
    "projection_dim": 12,
    "layer_norm_eps": 1e-5,
}


def write_tokenizer(path: Path, words: tuple[str, ...] = WORDS) -> Path:
    """A `tokenizer.json` of whole words."""
    model = tokenizers.models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unk>")
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.post_processor = tokenizers.processors.BertProcessing(("</s>", 2), ("<s>", 0))
    tokenizer.save(str(path))
    return path


def save_tokenizer(folder: Path) -> None:
    """The tokenizer's files of a saved model."""
    file = write_tokenizer(folder / "words.json")
    transformers.PreTrainedTokenizerFast(tokenizer_file=str(file), pad_token="<pad>", eos_token="</s>").save_pretrained(
        folder
    )


def make_random(model: Any, std: float) -> None:
    """Draws all weights, those of norms around 1."""
    for name, value in model.state_dict().items():
        if value.is_floating_point():
            torch.nn.init.normal_(value, std=std)
            if ("norm" in name.lower() or "running_var" in name) and not name.endswith("bias"):
                value.abs_().add_(0.5)


def random_clap() -> Any:
    """A CLAP whose norms are not those of a start, which would hide mistakes."""
    torch.manual_seed(0)
    config = transformers.ClapConfig(text_config=CLAP_TEXT, audio_config=CLAP_AUDIO, projection_dim=12)
    model = transformers.ClapModel(config).eval()
    make_random(model, 0.2)
    model.state_dict()["audio_model.audio_encoder.batch_norm.running_var"].add_(100)
    return model


def save_text_encoder(kind: str, folder: Path) -> Path:
    """Saves a `bert`, a whole `t5` with its decoder, a decoder-only `gemma`, or a `clap`; all of width 16."""
    size: dict[str, Any] = {"vocab_size": len(WORDS), "hidden_size": 16, "num_hidden_layers": 2}
    heads: dict[str, Any] = {"num_attention_heads": 2, "intermediate_size": 24, "pad_token_id": 1}
    torch.manual_seed(0)
    if kind == "bert":
        model: Any = transformers.BertModel(transformers.BertConfig(**size, **heads, max_position_embeddings=40))
        torch.nn.init.normal_(model.embeddings.word_embeddings.weight)  # texts of mostly the same words differ
    elif kind == "t5":
        model = transformers.T5ForConditionalGeneration(
            transformers.T5Config(vocab_size=len(WORDS), d_model=16, d_kv=8, d_ff=24, num_layers=2, num_heads=2)
        )
    elif kind == "gemma":
        model = transformers.GemmaForCausalLM(
            transformers.GemmaConfig(**size, **heads, num_key_value_heads=1, head_dim=8)
        )
    else:
        model = random_clap()
    model.save_pretrained(folder)
    save_tokenizer(folder)
    return folder
