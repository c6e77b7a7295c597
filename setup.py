"""Finds the packages: everything else about the distribution is in pyproject.toml.

`src/latentune/` holds links to the folders of the repository's root. Git on Windows, and most programs that unpack a
zip file, leave small text files in place of the links, and setuptools would then build a wheel without those folders
and report success. Where a link is missing, its folder is mapped by hand. An editable installation cannot be mapped
like that (its finder does not see sub-packages without an `__init__.py`), so it is refused with the reason.
"""

from pathlib import Path

from setuptools import find_namespace_packages, setup
from setuptools.command.editable_wheel import editable_wheel

ROOT = Path(__file__).resolve().parent
LINKED = ("tokenizers", "generators", "pipelines", "configs", "demos")
SHIPPED_DEMOS = "latentune.demos.fixtures"  # the only folder of demos/ that an installation needs: `latentune demo`


class RefusedEditable(editable_wheel):
    """An editable installation of a checkout without symbolic links: raises with what to do."""

    def run(self) -> None:
        raise SystemExit(
            f"{ROOT / 'src' / 'latentune'} has no symbolic links to {', '.join(LINKED)}, and an editable installation "
            "needs them: run `git config core.symlinks true` and `git checkout -- src/latentune` (on Windows with "
            "Developer Mode switched on), or install without -e: pip install -c constraints.txt ."
        )


package_dir = {"": "src"}
packages = find_namespace_packages("src", include=["latentune*"])
for name in LINKED:
    if (ROOT / "src" / "latentune" / name).is_dir():
        continue
    if not (ROOT / name).is_dir():
        raise SystemExit(f"neither src/latentune/{name} nor {name} is a folder of {ROOT}: this checkout is incomplete")
    package_dir[f"latentune.{name}"] = name
    packages += [f"latentune.{name}", *(f"latentune.{name}.{found}" for found in find_namespace_packages(name))]

setup(
    packages=[name for name in packages if not name.startswith("latentune.demos.") or name == SHIPPED_DEMOS],
    package_dir=package_dir,
    cmdclass={} if len(package_dir) == 1 else {"editable_wheel": RefusedEditable},
)
