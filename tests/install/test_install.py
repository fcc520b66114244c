"""The package installed from its wheel into an environment of its own, as a user would."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

from envoy_ext import __version__
from envoy_ext.build import STAND_INS

ROOT = Path(__file__).resolve().parents[2]


def run(*command: str | Path, **environment: str) -> str:
    done = subprocess.run(
        [*map(str, command)],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
        cwd="/",
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the source distribution, and the wheel that was built from that.

    From what is tracked or would be, not from what lies about in the checkout.
    """
    folder = tmp_path_factory.mktemp("made")
    tracked = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"],
        capture_output=True,
        check=True,
        cwd=ROOT,
    ).stdout
    source = folder / "source"
    for name in filter(None, tracked.decode().split("\0")):
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    run(sys.executable, "-m", "build", "--outdir", folder, source)
    return folder


@pytest.fixture(scope="module")
def wheel(made: Path) -> Path:
    (one,) = made.glob("*.whl")
    return one


def test_source_distribution_holds_no_binary(made: Path) -> None:
    (archive,) = made.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        files = {member.name: tar.extractfile(member) for member in tar if member.isfile()}
        binaries = [name for name, file in files.items() if file and file.read(4) == b"\x7fELF"]
    root = f"multibuffer_tls_kit-{__version__}"
    assert binaries == []
    assert {f"{root}/README.md", f"{root}/templates/mbk_abi.h.j2", f"{root}/setup.py"} <= set(files)


def test_wheel_holds_the_module_and_no_foreign_library(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    libraries = {Path(name).name for name in names if ".so" in name}
    ours = {"libmultibuffer.so", "libmbk_engine.so", "libmultibuffer_probe.so"}
    assert libraries == {*ours, *STAND_INS}
    assert {"envoy_ext/tables/1.40.yaml", "envoy_ext/config.schema.json"} <= names
    assert any(name.startswith("envoy_ext/_templates/") for name in names)
    assert "-linux_" in wheel.name
    assert "-none-" in wheel.name


def test_installed_command_works(wheel: Path, tmp_path: Path) -> None:
    """Its dependencies come from the environment of the tests, to spare the package index."""
    home = tmp_path / "venv"
    venv.create(home, with_pip=False, symlinks=True)
    (packages,) = (home / "lib").glob("python3*/site-packages")
    python = home / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python]
    run(*pip, "install", "--no-deps", "--quiet", wheel)
    here = next(path for path in sys.path if path.endswith("site-packages"))
    # Less the editable installation of the checkout.
    (packages / "others.pth").write_text(f"import site; site.addsitedir({here!r})\n")
    where = run(python, "-c", "import envoy_ext; print(envoy_ext.__file__)")
    assert where.startswith(str(packages))
    command = home / "bin" / "istio_kit"
    assert run(command, "--version") == f"istio_kit, version {__version__}\n"
    check = "from envoy_ext import cpu, artifacts; print(cpu.ifma_reason(), artifacts.module_dir())"
    assert str(packages / "envoy_ext" / "_lib") in run(python, "-c", check)
    assert "| 1.40.0 |" in run(python, "-m", "envoy_ext", "support-table")
    assert run(python, "-m", "envoy_ext", "gen", "--check") == ""
    demo = "demo --rounds 1 --seconds 0.5 --connections 8 -o json".split()
    figures = json.loads(run(command, *demo))
    assert figures["passed"] is True
    assert figures["failed_handshakes"] == 0
    staged = tmp_path / "staged"
    run(python, "-m", "envoy_ext", "stage", staged)
    assert {path.name for path in staged.iterdir()} == {
        "libmultibuffer.so",
        "libcrypto_mb.so.13",
        *STAND_INS,
    }


def test_setup_says_what_to_install(tmp_path: Path) -> None:
    """One line, where there is no compiler and none may be installed."""
    checkout, programs = tmp_path / "checkout", tmp_path / "bin"
    checkout.mkdir()
    programs.mkdir()
    for name in ("setup.sh", "pyproject.toml"):
        (checkout / name).write_bytes((ROOT / name).read_bytes())
    for name in ("sh", "cat", "sha256sum", "cut", "id", "dirname", "mktemp", "grep", "sed", "rm"):
        found = next(
            Path(folder) / name for folder in ("/usr/bin", "/bin") if (Path(folder) / name).exists()
        )
        (programs / name).symlink_to(found)
    done = subprocess.run(
        ["/bin/sh", "./setup.sh"],
        capture_output=True,
        text=True,
        check=False,
        cwd=checkout,
        env={"PATH": str(programs)},
    )
    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("setup: please install (Debian, Ubuntu): apt-get install gcc libc6-dev")
    assert not (checkout / ".venv").exists()
