"""Build hook: compiles the Envoy module into the wheel. Everything else is in pyproject.toml."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from setuptools import Distribution, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent


class BuildWithModule(build_py):
    """Adds the compiled libraries and the templates to the package `envoy_ext`."""

    def run(self) -> None:
        """Copy the Python files, then what is not Python."""
        super().run()
        # A checkout that is installed in place compiles with `make build`, and has templates.
        if self.editable_mode:
            return
        sys.path.insert(0, str(ROOT))
        from envoy_ext.build import BuildError, build_all

        package = Path(self.build_lib).resolve() / "envoy_ext"
        try:
            build_all(package / "_lib")
        except BuildError as error:
            # Its text says what to install; pip would bury it under a traceback.
            raise SystemExit(f"error: {error}") from None
        shutil.copytree(ROOT / "templates", package / "_templates", dirs_exist_ok=True)


class PlatformWheel(bdist_wheel):
    """Names the wheel after the platform; the libraries do not depend on Python's ABI."""

    def get_tag(self) -> tuple[str, str, str]:
        """Return the tags of the wheel's file name."""
        return "py3", "none", super().get_tag()[2]


class PlatformDistribution(Distribution):
    """A distribution whose files belong to one platform."""

    def has_ext_modules(self) -> bool:
        """Say that there is compiled code, so that pip installs to the right folder."""
        return True


setup(
    distclass=PlatformDistribution,
    cmdclass={"build_py": BuildWithModule, "bdist_wheel": PlatformWheel},
)
