"""The options of `latentune demo`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latentune.core.config import option


@dataclass(frozen=True, kw_only=True)
class DemoConfig:
    """The recordings and models of a demo, and how much of each step."""

    output: str = option(
        "demo_out", "Folder for everything, report.html included. An earlier demo in it is replaced.", positional=True
    )
    audio: str | None = option(
        None,
        "Audio to work on: a file, folder or manifest. By default four short recordings that are installed, of which "
        "each shipped codec gets those of its kind.",
    )
    tokenizers: tuple[str, ...] = option(
        (),
        "Tokenizer to use: a shipped or official name, a folder, or a hub id; repeat it for several. By default all "
        "that ship.",
        name="tokenizer",
    )
    generators: tuple[str, ...] = option(
        (),
        "Pipeline to sample from; repeat it for several. By default those that ship for the tokenizers.",
        name="generator",
    )
    train_configs: tuple[str, ...] = option(
        ("train/dit-tiny",), "Config of a generator to train on the first tokenizer; repeat it.", name="train-config"
    )
    overrides: tuple[str, ...] = option((), "KEY=VALUE for each training; repeat it.", name="train-override")
    train_steps: int = option(300, "Number of steps of each training.")
    prompts: tuple[str, ...] = option(
        ("calm orchestral music", "fast techno", "dark electronic soundtrack", "death metal"),
        "Text to sample from; repeat it for several. A stream changes from the first to the last.",
        name="prompt",
        short="p",
    )
    texts: tuple[str, ...] = option(
        ("Hello there, how are you today?", "This sentence was read by a very small model."),
        "Text to say, for a pipeline that speaks; repeat it for several.",
        name="say",
    )
    seconds: float = option(5.0, "Length of each sample, of a continuation, and of each half of a stream in seconds.")
    num: int = option(1, "Number of samples per prompt and pipeline.")
    decode_options: dict[str, Any] = option(
        factory=dict, help="Options of each tokenizer's own `decode`, such as steps=3.", name="decode-option"
    )
    seed: int = option(0, "Seed of training and of all sampling.")

    def __post_init__(self) -> None:
        for name in ("train_steps", "num"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not self.seconds > 0:
            raise ValueError(f"seconds must be a positive number, got {self.seconds}")
        if not self.prompts:
            raise ValueError("prompts is empty: name at least one, which may be empty for samples without a prompt")
        names = [Path(name).name for name in (*self.tokenizers, *self.generators)]
        if len(set(names)) < len(names):
            raise ValueError(f"two tokenizers or generators have the same name: {', '.join(sorted(names))}")
