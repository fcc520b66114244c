"""The package is whole, reproducible, and its module signs where there is only glibc."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner

from envoy_ext import artifacts, stats
from envoy_ext.build import STAND_INS, build_program
from envoy_ext.cpu import ifma_reason
from istio_kit.cli import cli
from istio_kit.errors import KitError
from istio_kit.lab import (
    Bootstrap,
    CertAuthority,
    Chain,
    EnvoyProcess,
    Listener,
    Load,
    Module,
    ServerTls,
    run_k6,
)
from istio_kit.package import complete, image

NO_ENGINE = image.no_engine_reason()


def package(
    folder: Path, *arguments: str, env: dict[str, str] | None = None
) -> tuple[int, dict[str, str], str]:
    command = ["package", "--output-dir", str(folder), "-o", "json", *arguments]
    result = CliRunner().invoke(cli, command, env=env, prog_name="istio_kit")
    return result.exit_code, json.loads(result.stdout or "{}"), result.stderr


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("package")
    code, made, err = package(folder)
    assert (code, err) == (0, "")
    with tarfile.open(made["tarball"]) as tar:
        tar.extractall(folder, filter="data")
    return folder / "multibuffer"


def test_what_is_inside(unpacked: Path) -> None:
    names = {str(path.relative_to(unpacked)) for path in unpacked.rglob("*") if path.is_file()}
    libraries = {"libmultibuffer.so", "libcrypto_mb.so.13", "libcrypto.so.3", *STAND_INS}
    licences = {f"licences/{name}.txt" for name in ("crypto_mb", "json-c", "openssl")}
    assert names == libraries | licences | {"SHA256SUMS", "sbom.cdx.json"}


def test_checksums(unpacked: Path) -> None:
    command = ["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"]
    subprocess.run(command, cwd=unpacked, check=True)
    assert len((unpacked / "SHA256SUMS").read_text().splitlines()) == 11


def test_bill_of_materials(unpacked: Path) -> None:
    bom = json.loads((unpacked / "sbom.cdx.json").read_text())
    assert (bom["bomFormat"], bom["specVersion"]) == ("CycloneDX", "1.6")
    found = {one["name"]: one for one in bom["components"]}
    assert set(found) == {"multibuffer", "crypto_mb", "json-c", "openssl"}
    for component in found.values():
        assert component["version"] != "unknown"
        for file in component.get("components", ()):
            digest = hashlib.sha256((unpacked / file["name"]).read_bytes()).hexdigest()
            assert file["hashes"] == [{"alg": "SHA-256", "content": digest}]


def test_no_path_of_the_build_host_is_inside(unpacked: Path) -> None:
    root = str(Path(__file__).resolve().parents[2]).encode()
    assert root in (artifacts.module_dir() / "libmultibuffer.so").read_bytes()  # debug information
    assert not [
        path.name for path in unpacked.glob("*") if path.is_file() and root in path.read_bytes()
    ]


def test_same_parts_same_bytes(tmp_path: Path) -> None:
    made = [package(tmp_path / name)[1]["sha256"] for name in ("a", "b")]
    assert made[0] == made[1]
    later = package(tmp_path / "c", env={"SOURCE_DATE_EPOCH": "1700000000"})[1]
    assert later["sha256"] != made[0]
    with tarfile.open(later["tarball"]) as tar:
        assert {member.mtime for member in tar} == {1700000000}


def test_older_target_is_refused(tmp_path: Path) -> None:
    code, _, err = package(tmp_path / "out", "--glibc", "2.17")
    assert code == 1
    assert "needs glibc 2.3" in err
    assert "has 2.17" in err
    assert not (tmp_path / "out").exists()


def test_without_libcrypto(tmp_path: Path) -> None:
    code, made, _ = package(tmp_path, "--without-libcrypto")
    assert code == 0
    with tarfile.open(made["tarball"]) as tar:
        names = tar.getnames()
    assert not [name for name in names if "libcrypto.so" in name or "openssl" in name]


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["--libcrypto", "/nonexistent"], 65, "/nonexistent: No such file"),
        (["--libcrypto", __file__], 65, "is not OpenSSL 3's"),
        (["--libcrypto", __file__, "--without-libcrypto"], 2, "exclude each other"),
        (["--glibc", "new"], 2, "is not a version such as"),
        (["--base", "debian"], 2, "need --image"),
        (["--image", "proxy", "--base", "a b"], 65, "is not the name of an image"),
    ],
)
def test_bad_values(tmp_path: Path, arguments: list[str], code: int, text: str) -> None:
    found = package(tmp_path / "out", *arguments)
    assert found[0] == code, found
    assert text in found[2]


def test_bad_epoch(tmp_path: Path) -> None:
    code, _, err = package(tmp_path, env={"SOURCE_DATE_EPOCH": "yesterday"})
    assert code == 65
    assert "SOURCE_DATE_EPOCH='yesterday'" in err


def test_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    code, _, err = package(tmp_path / "file" / "out")
    assert code == 1
    assert "choose another --output-dir" in err


@pytest.mark.parametrize("missing", [*STAND_INS, "libcrypto.so.3"])
def test_incomplete_package_is_noticed(unpacked: Path, tmp_path: Path, missing: str) -> None:
    folder = tmp_path / "part"
    shutil.copytree(unpacked, folder, ignore=shutil.ignore_patterns(missing))
    with pytest.raises(KitError, match=f"libcrypto_mb.so.13 needs .*{missing}"):
        complete.check(folder, (2, 35), with_libcrypto=True)


def minimal_root(root: Path) -> None:
    """Make a root folder that has glibc and Envoy, and nothing else."""
    for name in complete.GLIBC:
        source = Path("/lib64" if name.startswith("ld-") else "/lib/x86_64-linux-gnu") / name
        target = root / ("lib64" if name.startswith("ld-") else "lib/x86_64-linux-gnu") / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source.resolve(), target)
    shutil.copy2(artifacts.envoy_path(), root / "envoy")
    for name in ("proc", "dev"):
        (root / name).mkdir()


@contextmanager
def envoy_in(root: Path, config: Bootstrap, folder: Path) -> Iterator[EnvoyProcess]:
    """Run Envoy with `root` as its root folder, where `folder` is at its own path."""
    inside = root / str(folder).lstrip("/")
    inside.mkdir(parents=True)
    script = folder / "enter"
    script.write_text(
        "#!/bin/sh\nset -e\n"
        f"mount --bind {folder} {inside}\nmount --rbind /proc {root}/proc\n"
        f'mount --rbind /dev {root}/dev\nexec chroot {root} /envoy "$@"\n'
    )
    wrapper = folder / "envoy-in-root"
    wrapper.write_text(f'#!/bin/sh\nexec unshare --mount sh {script} "$@"\n')
    wrapper.chmod(0o755)
    with EnvoyProcess(config, folder, binary=wrapper, module_dir=Path("/opt/multibuffer")) as envoy:
        yield envoy


def https(ca: CertAuthority, folder: Path) -> Bootstrap:
    settings = {"stats_file": str(folder / "stats")}
    tls = ServerTls(certificates=(ca.issue("server"),), module=Module(settings))
    return Bootstrap(listeners=(Listener("tls", (Chain(tls=tls),)),))


def check_that_it_signs(envoy: EnvoyProcess, ca: CertAuthority, folder: Path) -> None:
    load = Load(url=envoy.url("tls"), seconds=0.5, connections=8, ca=ca.cert)
    result = run_k6(load, folder)
    assert result.failed == 0
    assert result.handshakes > 0
    if reason := ifma_reason():
        assert f"{reason}; standing aside" in envoy.log_text()
    else:
        assert stats.read(folder / "stats").signed("rsa2048") == result.handshakes


@pytest.mark.skipif(os.geteuid() != 0, reason="chroot needs root")
def test_signs_where_there_is_only_glibc(unpacked: Path, tmp_path: Path) -> None:
    root, work = tmp_path / "root", tmp_path / "work"
    work.mkdir()
    minimal_root(root)
    shutil.copytree(unpacked, root / "opt/multibuffer")
    ca = CertAuthority(work)
    with envoy_in(root, https(ca, work), work) as envoy:
        check_that_it_signs(envoy, ca, work)


def test_copier_copies_whole_files(tmp_path: Path) -> None:
    source, target = tmp_path / "from", tmp_path / "to"
    (source / "folder").mkdir(parents=True)
    target.mkdir()
    (source / "lib.so").write_bytes(os.urandom(200_000))
    (source / "lib.so").chmod(0o755)
    (source / "text").write_text("x")
    (target / "text").write_text("older and longer")
    copier = build_program(tmp_path / "copy", [Path(image.__file__).with_name("mbk_copy.c")])
    subprocess.run([copier, source, target], check=True)
    assert {path.name for path in target.iterdir()} == {"lib.so", "text"}
    assert (target / "lib.so").read_bytes() == (source / "lib.so").read_bytes()
    assert (target / "lib.so").stat().st_mode & 0o777 == 0o755
    assert (target / "text").read_text() == "x"
    failed = subprocess.run(
        [copier, source, tmp_path / "none"], capture_output=True, text=True, check=False
    )
    assert failed.returncode == 1
    assert failed.stderr == f"mbk-copy: {tmp_path}/none: No such file or directory\n"


def test_contexts_have_what_they_copy(tmp_path: Path) -> None:
    for kind, base in (("init", "scratch"), ("proxy", "envoyproxy/envoy:v1.40.0")):
        code, made, _ = package(tmp_path, "--image", kind)
        assert code == 0
        text = (Path(made["context"]) / "Dockerfile").read_text()
        assert f"\nFROM {base}\n" in text
        copied = [line.split()[1] for line in text.splitlines() if line[:4] in ("ADD ", "COPY")]
        assert copied
        assert all((Path(made["context"]) / name).is_file() for name in copied)


@pytest.mark.skipif(NO_ENGINE is None, reason="an engine answers")
def test_building_without_an_engine_says_why(tmp_path: Path) -> None:
    code, _, err = package(tmp_path, "--image", "init", "--tag", "mbk-test:1")
    assert code == 1
    assert "mbk-test:1 cannot be built: " in err


@pytest.mark.skipif(NO_ENGINE is not None, reason=f"no container engine: {NO_ENGINE}")
def test_init_image_fills_a_volume(unpacked: Path, tmp_path: Path) -> None:
    tag = f"mbk-test-init:{os.getpid()}"
    volume = tmp_path / "volume"
    volume.mkdir()
    volume.chmod(0o777)
    assert package(tmp_path, "--image", "init", "--tag", tag)[0] == 0
    try:
        run = ["docker", "run", "--rm", "--network", "none", "--read-only", "--cap-drop", "ALL"]
        subprocess.run([*run, "-v", f"{volume}:{image.FOLDER}", tag, image.FOLDER], check=True)
    finally:
        subprocess.run(["docker", "rmi", "--force", tag], capture_output=True, check=False)
    libraries = {path.name for path in unpacked.glob("*.so*")}
    assert libraries <= {path.name for path in volume.iterdir()}
    for name in libraries:
        assert (volume / name).read_bytes() == (unpacked / name).read_bytes()


@pytest.mark.skipif(NO_ENGINE is not None, reason=f"no container engine: {NO_ENGINE}")
def test_proxy_image_signs(tmp_path: Path) -> None:
    """On a base that has glibc and Envoy only, under the engine's own seccomp profile."""
    base, tag = f"mbk-test-base:{os.getpid()}", f"mbk-test-proxy:{os.getpid()}"
    work = tmp_path / "work"
    work.mkdir()
    minimal_root(tmp_path / "root")
    tar = ["tar", "-C", tmp_path / "root", "-cf", tmp_path / "root.tar", "."]
    subprocess.run(tar, check=True)
    imported = ["docker", "import", tmp_path / "root.tar", base]
    subprocess.run(imported, check=True, capture_output=True)
    ca = CertAuthority(work)
    run = "docker run --rm --network host --cap-drop ALL --cap-add IPC_LOCK --read-only"
    wrapper = work / "envoy-in-image"
    wrapper.write_text(f'#!/bin/sh\nexec {run} -v {work}:{work} {tag} /envoy "$@"\n')
    wrapper.chmod(0o755)
    try:
        code, _, err = package(tmp_path, "--image", "proxy", "--base", base, "--tag", tag)
        assert code == 0, err
        with EnvoyProcess(https(ca, work), work, binary=wrapper) as envoy:
            check_that_it_signs(envoy, ca, work)
    finally:
        subprocess.run(["docker", "rmi", "--force", tag, base], capture_output=True, check=False)
