"""Build contexts of container images: a Dockerfile and what it copies."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Literal, TypeAlias

from envoy_ext import __version__
from envoy_ext.build import BuildError, build_program
from istio_kit.errors import InputError, KitError
from istio_kit.package import archive
from istio_kit.templates import environment

Kind: TypeAlias = Literal["init", "proxy"]

#: Where the proxy finds the module: in the proxy image, or in the volume that init fills.
FOLDER = "/opt/multibuffer"
PROXY_BASE = "envoyproxy/envoy:v1.40.0"

_COPIER = "mbk-copy"
_BUILD_SECONDS = 600


def write_context(folder: Path, kind: Kind, tarball: str, data: bytes, base: str | None) -> None:
    """Write the folder that `docker build` is given.

    Args:
        folder: the context; made when it is not there.
        kind: `init` (copies the module into a volume) or `proxy` (an Envoy with the module).
        tarball: name of the package's file.
        data: its bytes.
        base: image to build on; None: nothing for `init`, PROXY_BASE for `proxy`.

    Raises:
        InputError: ``base`` is not the name of an image.
        KitError: the copier cannot be compiled, or a file not be written.
    """
    base = base or ("scratch" if kind == "init" else PROXY_BASE)
    if not base.isprintable() or any(character.isspace() for character in base):
        raise InputError(f"--base: {base!r} is not the name of an image")
    copier = _copier() if kind == "init" else None
    text = (
        environment()
        .get_template(f"Dockerfile.{kind}.j2")
        .render(
            base=base,
            tarball=tarball,
            version=__version__,
            folder=FOLDER,
            top=archive.TOP,
            copier=_COPIER,
        )
    )
    archive.write(folder / tarball, data)
    if copier:
        archive.write(folder / _COPIER, copier, 0o755)
    archive.write(folder / "Dockerfile", text.encode())


def no_engine_reason() -> str | None:
    """Return why no image can be built here, None when one can."""
    docker = shutil.which("docker")
    if docker is None:
        return "the program docker is not installed"
    command = [docker, "version", "--format", "{{.Server.Version}}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    except subprocess.TimeoutExpired:
        return "the container engine does not answer"
    if done.returncode == 0:
        return None
    return done.stderr.strip().splitlines()[-1] if done.stderr else "no container engine answers"


def build(folder: Path, tag: str) -> None:
    """Build the image of a context.

    Raises:
        KitError: no engine answers, or the build failed; the text has the end of its output.
    """
    reason = no_engine_reason()
    if reason:
        raise KitError(f"{tag} cannot be built: {reason}. The context is in {folder}")
    command = ["docker", "build", "--tag", tag, str(folder)]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=_BUILD_SECONDS
        )
    except subprocess.TimeoutExpired as error:
        raise KitError(
            f"{tag}: docker build took over {_BUILD_SECONDS} s; run it by hand"
        ) from error
    if done.returncode != 0:
        end = "\n".join(done.stderr.strip().splitlines()[-10:])
        raise KitError(f"{tag}: docker build {folder} failed:\n{end}")


def _copier() -> bytes:
    source = Path(__file__).with_name("mbk_copy.c")
    with tempfile.TemporaryDirectory() as scratch:
        target = Path(scratch) / _COPIER
        try:
            build_program(target, [source])
        except BuildError as error:
            raise KitError(f"the init image's copier cannot be compiled: {error}") from error
        return target.read_bytes()
