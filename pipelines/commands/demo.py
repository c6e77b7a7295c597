"""The command `latentune demo`, which runs the walkthrough of `demos/`.

The walkthrough is imported by name when the command is used: `demos` builds on `pipelines`, not the other way around.
"""

from __future__ import annotations

from dataclasses import asdict
from importlib import import_module
from typing import Any

import click

from .options import ConfigCommand
from .tools import Outcome

WALKTHROUGH = "demos.walkthrough"


def demo(config: Any) -> Outcome:
    """Run every step on a few seconds of audio: encode, train, sample, decode, evaluate, report."""
    walkthrough = import_module(f"...{WALKTHROUGH}", __package__)
    result = walkthrough.run_demo(config, progress=lambda line: click.echo(line, err=True))
    return Outcome(facts=asdict(result), text=f"{result.report}: written in {result.seconds:.0f} s")


command = ConfigCommand(demo, f"{WALKTHROUGH}_config:DemoConfig")
