"""The engine, the shim's connection table and its configuration parser under sanitizers.

The driver beside this file is compiled together with the engine's sources by the same sanitizer. It
does not use libcrypto itself: keys come as numbers from here, and the results that it writes
are verified here, so that libcrypto belongs to the engine as it does in a proxy.

No suppressions: libcrypto and crypto_mb are not instrumented, but their locks are seen
(TSan intercepts pthread functions in every library), their memory comes from our
allocator, and OpenSSL frees what it keeps before leaks are looked for.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from envoy_ext import artifacts, build, stats
from envoy_ext.engine import PrivateKey, rsa_numbers

HERE = Path(__file__).parent
WRAPPED = ("mbk_locked_alloc", "mbk_locked_free", "mbk_worker_expect")
EXIT_SKIPPED = 77
THREADS = 4
OPERATIONS = 30_000  # about ten seconds
SEED = 20_260_401
REPORT = re.compile(r"Sanitizer|runtime error:|not so:")
OPTIONS = {
    "ASAN_OPTIONS": "detect_leaks=1:detect_stack_use_after_return=1:strict_string_checks=1:"
    "check_initialization_order=1:exitcode=66",
    "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
    "TSAN_OPTIONS": "exitcode=66:detect_deadlocks=1:second_deadlock_stack=1:history_size=4",
}
# Leaks memory when told to, so that a run shows whether leaks are found on this system.
PROBE = """
#include <stdlib.h>
int main(int argc, char **argv) {
    void *volatile block = argc > 1 ? malloc(10) : NULL;
    (void)argv;
    block = NULL;
    return block != NULL;
}
"""


@dataclass(frozen=True)
class Driver:
    """A driver that can run on this system."""

    command: list[str]

    def run(self, *arguments: str | Path | int) -> str:
        """Its output; anything but success without a report fails the test."""
        done = execute([*self.command, *map(str, arguments)])
        if done.returncode == EXIT_SKIPPED:
            pytest.skip(f"lanes cannot be used here: {done.stdout.strip()}")
        report = done.stdout + done.stderr
        assert not REPORT.search(report), report[:20_000]
        assert done.returncode == 0, report[:20_000]
        assert done.stdout.endswith("passed\n")
        return done.stdout


def execute(command: list[str]) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **OPTIONS}
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=300, env=environment
    )


def launcher(sanitizer: str, folder: Path) -> list[str]:
    """What to run a sanitized program with; skips where the sanitizer does not work."""
    source = folder / "probe.c"
    source.write_text(PROBE)
    probe = str(folder / "probe")
    made = execute([build.compiler(), *build.SANITIZERS[sanitizer], "-o", probe, str(source)])
    if made.returncode != 0:
        pytest.skip(f"no runtime of {sanitizer}: {made.stderr.strip().splitlines()[-1]}")
    # TSan of older compilers cannot start where addresses are strongly randomised.
    fixed = [setarch, "-R"] if (setarch := shutil.which("setarch")) else []
    reason = ""
    for prefix in ([], fixed):
        done = execute([*prefix, probe])
        if done.returncode == 0:
            if sanitizer == "asan" and execute([*prefix, probe, "leak"]).returncode == 0:
                pytest.skip("asan finds no leaks on this system")
            return prefix
        reason = (done.stderr.strip().splitlines() or [f"exit {done.returncode}"])[0]
    pytest.skip(f"{sanitizer} does not run here: {reason}")


@pytest.fixture(scope="module", params=["asan", "tsan"])
def driver(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Driver:
    sanitizer: str = request.param
    folder = tmp_path_factory.mktemp(sanitizer)
    prefix = launcher(sanitizer, folder)
    sources = [*sorted(HERE.glob("*.c")), build.SHIM / "mbk_conn.c", build.SHIM / "mbk_config.c"]
    libraries = [*(f"-Wl,--wrap={name}" for name in WRAPPED), "-ljson-c"]
    program = build.build_driver(
        folder / "driver", sources, libraries=libraries, sanitizer=sanitizer
    )
    return Driver([*prefix, str(program)])


@pytest.fixture(scope="module")
def stand_ins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stand-ins")
    build.build_stand_ins(folder)
    return folder


@pytest.fixture(scope="module")
def keys() -> list[PrivateKey]:
    return [
        *(rsa.generate_private_key(65537, bits) for bits in (2048, 2048, 3072, 4096)),
        *(ec.generate_private_key(ec.SECP256R1()) for _ in range(4)),
        *(ec.generate_private_key(ec.SECP384R1()) for _ in range(3)),
    ]


def key_line(key: PrivateKey) -> str:
    if isinstance(key, rsa.RSAPrivateKey):
        return " ".join(["rsa", *(f"{value:x}" for value in rsa_numbers(key).values())])
    name = {"secp256r1": "p256", "secp384r1": "p384"}[key.curve.name]
    return f"{name} {key.private_numbers().private_value:x}"


DIGESTS: dict[int, hashes.HashAlgorithm] = {
    0x02: hashes.SHA1(),
    0x04: hashes.SHA256(),
    0x05: hashes.SHA384(),
    0x06: hashes.SHA512(),
}


def check_raw(key: rsa.RSAPublicKey, block: bytes, result: bytes) -> None:
    numbers = key.public_numbers()
    public = pow(int.from_bytes(result), numbers.e, numbers.n)
    assert public == int.from_bytes(block)


def check_rsa(key: rsa.RSAPublicKey, scheme: int, message: bytes, result: bytes) -> None:
    if scheme == 0:  # decryption: the message is the ciphertext
        check_raw(key, message, result)
    elif scheme == 0xFF01:
        digest = hashlib.md5(message).digest() + hashlib.sha1(message).digest()
        filler = b"\xff" * (key.key_size // 8 - len(digest) - 3)
        check_raw(key, b"\x00\x01" + filler + b"\x00" + digest, result)
    elif scheme >> 8 == 0x08:
        used = DIGESTS[scheme & 0xFF]
        pss = padding.PSS(padding.MGF1(used), padding.PSS.DIGEST_LENGTH)
        key.verify(result, message, pss, used)
    else:
        key.verify(result, message, padding.PKCS1v15(), DIGESTS[scheme >> 8])


def verifier(keys: list[PrivateKey]) -> Callable[[str], None]:
    """Checks one line of the driver's samples."""
    public = [key.public_key() for key in keys]

    def check(line: str) -> None:
        number, scheme_text, message, result = line.split(" ")
        key, scheme = public[int(number)], int(scheme_text, 16)
        if isinstance(key, rsa.RSAPublicKey):
            check_rsa(key, scheme, bytes.fromhex(message), bytes.fromhex(result))
        else:
            algorithm = ec.ECDSA(DIGESTS[scheme >> 8])
            key.verify(bytes.fromhex(result), bytes.fromhex(message), algorithm)

    return check


def reported(output: str, name: str) -> int:
    found = re.search(rf"\b{name} (\d+)", output)
    assert found, output
    return int(found[1])


def library(lanes: str) -> str:
    if lanes == "portable":
        return ""
    path = artifacts.crypto_mb_path()
    if path is None:
        pytest.skip("crypto_mb (ipp-crypto) is not installed")
    return str(path)


@pytest.mark.parametrize("lanes", ["portable", "crypto_mb"])
def test_threads_share_keys(
    driver: Driver, stand_ins: Path, keys: list[PrivateKey], tmp_path: Path, lanes: str
) -> None:
    numbers = tmp_path / "keys"
    numbers.write_text("".join(f"{key_line(key)}\n" for key in keys))
    published = tmp_path / "stats"
    engine = (lanes, library(lanes), stand_ins, published)
    output = driver.run(*engine, "stress", numbers, tmp_path, THREADS, OPERATIONS, SEED)
    samples = [
        line for file in tmp_path.glob("samples.*") for line in file.read_text().splitlines()
    ]
    assert len(samples) == reported(output, "collected")
    check = verifier(keys)
    for line in samples:
        check(line)
    assert stats.read(published).submitted == reported(output, "submitted")


def test_connection_table(driver: Driver, stand_ins: Path, tmp_path: Path) -> None:
    engine = ("portable", "", stand_ins, tmp_path / "stats")
    driver.run(*engine, "connections", 1_000_000, SEED)


def test_configuration_texts(driver: Driver) -> None:
    driver.run("configurations", 200_000, SEED)
