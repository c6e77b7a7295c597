"""`pip install .` alone runs every name that ships: the packages of all extras are hidden, and each name is loaded."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HIDE = """
import sys

class WithoutHidden:
    def __init__(self, finder):
        self.finder = finder

    def __getattr__(self, name):
        return getattr(self.finder, name)

    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] in HIDDEN else self.finder.find_spec(name, path, target)

sys.meta_path[:] = map(WithoutHidden, sys.meta_path)
"""
IMPORT_NAMES = {"import_linter": "importlinter", "onnx_asr": "onnx_asr", "mkdocs_material": "material"}
LOAD = {
    "tokenizers": "codec = latentune.load_tokenizer(name); codec.decode_encoded(codec.encode(AUDIO, 16000))",
    "pipelines": "pipe = latentune.load_pipeline(name); "
    "pipe('calm piano', duration_s=0.1) if 'text' in row['conditions'].split(', ') else pipe.say('Hello.')",
    "embedders": "latentune.load_embedder(name).embed(AUDIO[0, 0])",
}


def hidden_packages() -> set[str]:
    """The import names of packages that only extras bring; torch needs jinja2 itself."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    def names(lines: list[str]) -> set[str]:
        plain = {line.split("[")[0].split(">")[0].split("=")[0].split("<")[0].strip() for line in lines}
        return {IMPORT_NAMES.get(name.replace("-", "_"), name.replace("-", "_")) for name in plain}

    extras = {name for lines in project["optional-dependencies"].values() for name in names(lines)}
    return extras - names(project["dependencies"]) - {"setuptools", "pyarrow", "psutil"}


def run(code: str) -> str:
    """The output of a program in which the packages cannot be imported."""
    program = f"HIDDEN = {sorted(hidden_packages())!r}\n{HIDE}\nimport torch, latentune\n{code}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_the_packages_are_hidden() -> None:
    assert {"matplotlib", "tensorboard", "ray", "laion_clap", "pesq", "torchaudio"} <= hidden_packages()
    assert not {"torch", "transformers", "click"} & hidden_packages()


def test_every_name_that_ships_runs() -> None:
    code = "AUDIO = 0.1 * torch.randn(1, 1, 8000, generator=torch.Generator().manual_seed(0))\n"
    code += "from latentune.pipelines.commands.list import ListConfig, names\n"
    code += "from importlib.util import find_spec\nassert not find_spec('matplotlib')\n"
    for kind, load in LOAD.items():
        code += f"for row in names(ListConfig(kind={kind!r})).facts[{kind!r}]:\n"
        code += f"    name = row['name']\n    if row['available'] == 'ships':\n        {load}\n"
        code += f"        print({kind!r}, name)\n"
    printed = run(code).split()
    assert all(printed.count(kind) >= 2 for kind in LOAD), printed
