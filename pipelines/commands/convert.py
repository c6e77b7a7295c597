"""The command `latentune convert`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...core.config import option
from ...core.files import write_text
from ...core.model_card import CARD_FILE, written_by_hand
from ...core.outputs import prepare_output
from .options import ConfigCommand
from .tools import Outcome


@dataclass(frozen=True, kw_only=True)
class ConvertConfig:
    """Official weights, and the folder for ours."""

    source: str = option(
        help="Weights in any format: an official name or its hub id, or a file or folder.", positional=True
    )
    output: str = option(help="Folder for config.json and safetensors.", positional=True)
    class_name: str | None = option(
        None, "Class of the codec. By default the source says which one it is.", name="class"
    )
    options: dict[str, Any] = option(
        factory=dict, help="Options of the codec, such as semantic=FOLDER of NeuCodec.", name="option", short="o"
    )


def convert(config: ConvertConfig) -> Outcome:
    """Convert the official weights of a codec to safetensors and a config."""
    from ...tokenizers.load import load_official

    prepare_output(Path(config.output).expanduser().absolute().parent)
    tokenizer = load_official(config.source, config.class_name, **config.options)
    tokenizer.save_pretrained(config.output)
    card = Path(config.output).expanduser() / CARD_FILE
    if written_by_hand(card.parent) is None:
        write_text(card, tokenizer.make_card())
    return Outcome(facts={"output": config.output}, text=f"{config.output}: converted from {config.source}")


command = ConfigCommand(convert, "pipelines.commands.convert:ConvertConfig")
