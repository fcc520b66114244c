"""Compiles the module and its companions with the system's C compiler.

What comes out, in one folder:

- ``libmultibuffer.so``: the module that Envoy loads;
- ``libmbk_engine.so`` and ``engine.cdef``: the engine alone, with fault injection, for
  :mod:`envoy_ext.engine` (tests, benchmarks, host checks);
- ``libmultibuffer_probe.so``: the layout prober's module;
- ``libsvml.so``, ``libirng.so``, ``libimf.so``, ``libintlc.so.5``: empty stand-ins for Intel
  compiler libraries that libcrypto_mb names but uses no symbol of.

Needs a C11 compiler, OpenSSL 3 headers and json-c (headers and static library); crypto_mb's
headers come from the PyPI package ``ipp-crypto-include``.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import click

from envoy_ext import __version__

PACKAGE = Path(__file__).resolve().parent
CORE = PACKAGE / "core"
SHIM = PACKAGE / "shim"
GENERATED = PACKAGE / "generated"
DEFAULT_MINOR = "1.40"
STAND_INS = ("libsvml.so", "libirng.so", "libimf.so", "libintlc.so.5")

WARNINGS = (
    "-Wall -Wextra -Werror -Wshadow -Wcast-qual -Wstrict-prototypes -Wformat-security "
    "-Wwrite-strings -Wsign-compare -Wpointer-arith"
).split()
HARDENING = "-fPIC -fvisibility=hidden -fstack-protector-strong -fno-strict-aliasing".split()
LINK_HARDENING = (
    "-Wl,-z,relro -Wl,-z,now -Wl,-z,noexecstack -Wl,-z,nodelete -Wl,--exclude-libs,ALL "
    "-Wl,--no-undefined -Wl,--as-needed"
).split()

SANITIZERS = {
    "": [],
    "asan": ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"],
    "ubsan": ["-fsanitize=undefined", "-fno-sanitize-recover=all"],
    "tsan": ["-fsanitize=thread"],
}


class BuildError(Exception):
    """The build cannot go on; the text says what is missing and how to mend it."""


def compiler() -> str:
    """The C compiler: ``$CC``, else ``cc``."""
    name = os.environ.get("CC", "cc")
    if shutil.which(name) is None:
        raise BuildError(
            f"C compiler '{name}' not found. Install one (Debian, Ubuntu: apt-get install gcc "
            "libc6-dev) or set CC."
        )
    return name


def crypto_mb_headers() -> Path:
    """Folder that holds ``crypto_mb/rsa.h``."""
    try:
        files = importlib.metadata.files("ipp-crypto-include") or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.match("crypto_mb/rsa.h"):
            return Path(str(file.locate())).resolve().parent.parent
    raise BuildError("crypto_mb's headers not found. Install them: pip install ipp-crypto-include")


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return
    missing = re.search(r"fatal error: (\S+): No such file|cannot find (-l\S+)", done.stderr)
    if missing:
        raise BuildError(
            f"{missing.group(1) or missing.group(2)} not found. Install the headers "
            "(Debian, Ubuntu: apt-get install libssl-dev libjson-c-dev)."
        )
    raise BuildError(f"{' '.join(command)}\n{done.stderr.rstrip()}")


def _compile_flags(sanitizer: str) -> list[str]:
    optimise = ["-O1", "-g", "-fno-omit-frame-pointer"] if sanitizer else ["-O2", "-g"]
    return [
        "-std=c11",
        "-D_GNU_SOURCE",
        *optimise,
        *WARNINGS,
        *HARDENING,
        *SANITIZERS[sanitizer],
        f'-DMBK_VERSION="{__version__}"',
        f"-isystem{crypto_mb_headers()}",
        f"-I{CORE}",
        f"-I{SHIM}",
    ]


def _link(
    sources: list[Path],
    output: Path,
    flags: list[str],
    libraries: list[str],
    *,
    shared: bool = True,
) -> None:
    """Compiles and links to a temporary name, so that an interrupted build leaves nothing."""
    output.parent.mkdir(parents=True, exist_ok=True)
    partial = output.with_name(f".{output.name}.{os.getpid()}")
    try:
        _run(
            [
                compiler(),
                *(["-shared"] if shared else []),
                *flags,
                "-o",
                str(partial),
                *map(str, sources),
                *LINK_HARDENING,
                *libraries,
            ]
        )
        partial.replace(output)
    finally:
        partial.unlink(missing_ok=True)


def core_sources() -> list[Path]:
    """The engine's C files."""
    return sorted(CORE.glob("*.c"))


def build_module(
    output: Path,
    *,
    minor: str = DEFAULT_MINOR,
    generated: Path | None = None,
    sanitizer: str = "",
) -> Path:
    """Builds the Envoy module.

    ``generated`` replaces the folder of generated files (a table that is not in the tree).
    """
    folder = generated or GENERATED / minor
    flags = [*_compile_flags(sanitizer), f"-I{folder}"]
    sources = [*core_sources(), *sorted(SHIM.glob("*.c")), *sorted(folder.glob("*.c"))]
    libraries = [
        f"-Wl,--version-script={folder / 'exports.map'}",
        "-Wl,-Bstatic",
        "-ljson-c",
        "-Wl,-Bdynamic",
        "-ldl",
        "-pthread",
    ]
    _link(sources, output, flags, libraries)
    return output


def engine_cdef() -> str:
    """The engine's headers, preprocessed for cffi."""
    text = "".join(
        (CORE / name).read_text()
        for name in ("mbk_stats.h", "mbk_engine.h", "testing/mbk_faults.h")
    )
    text = re.sub(r"^#include.*$", "", text, flags=re.MULTILINE)
    # cffi knows no _Alignas; the structure is read by offset (envoy_ext.stats), not through it.
    text = re.sub(r"typedef struct mbk_stats_block \{.*?\} mbk_stats_block;", "", text, flags=re.S)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "engine.h"
        source.write_text(text)
        done = subprocess.run(
            [compiler(), "-E", "-P", "-dD", str(source)],
            capture_output=True,
            text=True,
            check=True,
        )
    return "\n".join(line for line in done.stdout.splitlines() if not line.startswith("#")) + "\n"


def build_engine(output: Path, *, sanitizer: str = "") -> Path:
    """Builds the engine alone, every function of it visible, for the Python binding."""
    flags = [*_compile_flags(sanitizer), "-fvisibility=default"]
    sources = [*core_sources(), *sorted((CORE / "testing").glob("*.c"))]
    _link(sources, output, flags, ["-ldl", "-pthread"])
    output.with_name("engine.cdef").write_text(engine_cdef())
    return output


def build_driver(
    output: Path, sources: list[Path], *, libraries: list[str], sanitizer: str = ""
) -> Path:
    """Builds a test program from ``sources`` and the engine, with fault injection."""
    engine = [*core_sources(), *sorted((CORE / "testing").glob("*.c"))]
    libraries = [*libraries, "-ldl", "-pthread"]
    _link([*sources, *engine], output, _compile_flags(sanitizer), libraries, shared=False)
    return output


def build_program(output: Path, sources: list[Path]) -> Path:
    """Builds a static program, for images without a C library."""
    flags = ["-std=c11", "-D_GNU_SOURCE", "-O2", "-s", "-static", *WARNINGS]
    _link(sources, output, flags, [], shared=False)
    return output


def build_stand_ins(folder: Path) -> None:
    """Builds the empty libraries that satisfy libcrypto_mb's list of needed names."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        empty = Path(scratch) / "empty.c"
        empty.write_text("typedef int mbk_empty;\n")
        for name in STAND_INS:
            command = [compiler(), "-shared", "-fPIC", "-nostdlib", f"-Wl,-soname,{name}"]
            _run([*command, "-s", "-o", str(folder / name), str(empty)])


def build_all(folder: Path) -> None:
    """Builds everything that the installed package carries."""
    build_module(folder / "libmultibuffer.so")
    build_engine(folder / "libmbk_engine.so")
    build_stand_ins(folder)
    probe = PACKAGE / "layout" / "probe_module.c"
    flags = ["-std=c11", "-D_GNU_SOURCE", "-O2", *WARNINGS, *HARDENING]
    _link([probe], folder / "libmultibuffer_probe.so", flags, [])


@click.command("build")
@click.option(
    "--output-dir",
    type=click.Path(path_type=Path, file_okay=False),
    default=PACKAGE / "_lib",
    help="Where the libraries go.",
)
def build_command(output_dir: Path) -> None:
    """Compile the module, the engine's test library and the stand-ins."""
    try:
        build_all(output_dir)
    except BuildError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)
    click.echo(f"built {output_dir}", err=True)


def stage(folder: Path) -> None:
    """Copies the module and the libraries that it loads to ``folder``.

    Raises MissingArtifactError when one of them is not there.
    """
    from envoy_ext import artifacts

    library = artifacts.crypto_mb_path()
    if library is None:
        raise artifacts.MissingArtifactError("libcrypto_mb not found. Run: pip install ipp-crypto")
    folder.mkdir(parents=True, exist_ok=True)
    source = artifacts.module_dir()
    for name in ("libmultibuffer.so", *STAND_INS):
        shutil.copy2(source / name, folder / name)
    shutil.copy2(library, folder / "libcrypto_mb.so.13")


@click.command("stage")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
def stage_command(folder: Path) -> None:
    """Copy the module and the libraries that it loads to FOLDER, for one's own Envoy."""
    from envoy_ext import artifacts

    try:
        stage(folder)
    except artifacts.MissingArtifactError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)
    click.echo(f"staged in {folder}: set ENVOY_DYNAMIC_MODULES_SEARCH_PATH to it", err=True)


COMMANDS = (build_command, stage_command)
