"""``istio_kit package``."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from istio_kit.errors import EXIT_CODES_HELP
from istio_kit.options import output_option

if TYPE_CHECKING:
    from istio_kit.package.image import Kind


def _version(_ctx: click.Context, _param: click.Parameter, value: str) -> tuple[int, int]:
    major, _, minor = value.partition(".")
    if not (major.isascii() and major.isdigit() and minor.isascii() and minor.isdigit()):
        raise click.BadParameter(f"{value!r} is not a version such as 2.35")
    return int(major), int(minor)


@click.command("package", epilog=EXIT_CODES_HELP)
@click.option(
    "--output-dir",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Where the files go; made when it is not there.",
)
@click.option(
    "--glibc",
    callback=_version,
    default="2.35",
    show_default=True,
    help="Oldest glibc of the images meant (2.35 is Ubuntu 22.04's).",
)
@click.option(
    "--libcrypto",
    type=click.Path(path_type=Path),
    help="OpenSSL 3's libcrypto.so.3 to put in. [default: this host's]",
)
@click.option(
    "--without-libcrypto", is_flag=True, help="Leave OpenSSL out: the image has libcrypto.so.3."
)
@click.option(
    "--image",
    "kind",
    type=click.Choice(["init", "proxy"]),
    help="Also make a build context: init container, or proxy with the module.",
)
@click.option("--base", help="Image that the Dockerfile starts from.")
@click.option("--tag", help="Build the image under this name with docker.")
@output_option("list of files")
def package_command(
    *,
    output_dir: Path,
    glibc: tuple[int, int],
    libcrypto: Path | None,
    without_libcrypto: bool,
    kind: Kind | None,
    base: str | None,
    tag: str | None,
    output: Literal["text", "json"],
) -> None:
    """Make the tarball that is deployed, and container images of it.

    It has the module, libcrypto_mb, OpenSSL's libcrypto, licences, SHA256SUMS and an SBOM
    (CycloneDX). The same parts give the same bytes; times in it are SOURCE_DATE_EPOCH.
    """
    if libcrypto and without_libcrypto:
        raise click.UsageError("--libcrypto and --without-libcrypto exclude each other")
    if (base or tag) and not kind:
        raise click.UsageError("--base and --tag need --image")
    import json

    from envoy_ext import __version__
    from istio_kit.package import archive, image, parts

    chosen = None if without_libcrypto else libcrypto or parts.system_libcrypto()
    data = _tarball(chosen, glibc)
    path = output_dir / f"multibuffer-{__version__}-linux-x86_64.tar.gz"
    archive.write(path, data)
    made = {"tarball": str(path), "sha256": hashlib.sha256(data).hexdigest()}
    if kind:
        context = output_dir / f"image-{kind}"
        image.write_context(context, kind, path.name, data, base)
        made["context"] = str(context)
        if tag:
            click.echo(f"building {tag}", err=True)
            image.build(context, tag)
            made["image"] = tag
    lines = [f"{name}: {value}" for name, value in made.items()]
    click.echo(json.dumps(made, indent=2) if output == "json" else "\n".join(lines))


def _tarball(libcrypto: Path | None, glibc: tuple[int, int]) -> bytes:
    """Return the package, checked before anybody sees it."""
    from istio_kit.package import archive, complete, parts, sbom

    epoch = archive.epoch_of_environment()
    components = parts.collect(libcrypto)
    contents = archive.files(components, sbom.render(components, epoch))
    with tempfile.TemporaryDirectory(prefix="multibuffer-") as scratch:
        folder = Path(scratch)
        for name, data in contents.items():
            archive.write(folder / name, data)
        complete.check(folder, glibc, with_libcrypto=libcrypto is not None)
    return archive.pack(contents, epoch)
