"""The command `latentune export`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .options import ConfigCommand
from .tools import Outcome

if TYPE_CHECKING:
    from ..export import ExportConfig


def export(config: ExportConfig) -> Outcome:
    """Export the step of a generator and the decoder of a codec to ONNX and torch.export."""
    from ..export import export_model

    facts = export_model(config)
    lines = [f"{config.output}: {', '.join(file for graph in facts['graphs'].values() for file in graph['files'])}"]
    lines += [f"not exported: {name}: {reason}" for name, reason in facts["refused"].items()]
    return Outcome(facts=facts, text="\n".join(lines))


command = ConfigCommand(export, "pipelines.export:ExportConfig")
