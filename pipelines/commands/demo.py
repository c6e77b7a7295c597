"""The command `latentune demo`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from .options import ConfigCommand
from .tools import Outcome

if TYPE_CHECKING:
    from ..demo import DemoConfig


def demo(config: DemoConfig) -> Outcome:
    """Encode, train, sample, decode and evaluate at small size, and write a report."""
    from ..demo import run_demo

    result = run_demo(config, progress=lambda line: click.echo(line, err=True))
    return Outcome(facts=asdict(result), text=f"{result.report}: written in {result.seconds:.0f} s")


command = ConfigCommand(demo, "demo:DemoConfig")
