"""The commands as their users run them, and what can go wrong with them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import jsonschema
import psutil
import pytest
from bench_kit import SMALL, bench, run

from envoy_ext.cpu import ifma_reason
from istio_kit import bench as package

SCHEMA = json.loads((Path(package.__file__).parent / "results.schema.json").read_text())
WAIT_SECONDS = 60.0

Running = subprocess.Popen[str]


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    """Folder for the temporary files of a command."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    return folder


def begin(output: Path, scratch: Path, *options: str) -> Running:
    """Start a benchmark, and wait until it has its first sample."""
    process = subprocess.Popen(
        bench("handshake", *SMALL, *options, "--output-dir", output),
        env={**os.environ, "TMPDIR": str(scratch)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    end = time.monotonic() + WAIT_SECONDS
    samples = output / "samples.jsonl"
    while not (samples.exists() and len(samples.read_text().splitlines()) > 1):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.05)
    return process


def children(process: Running) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def wait_for_child(process: Running, name: str) -> psutil.Process:
    end = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < end:
        for child in children(process):
            try:
                # Not yet the wrapper that starts it.
                if child.name() == name:
                    return child
            except psutil.NoSuchProcess:
                continue
        time.sleep(0.01)
    raise AssertionError(f"no process named {name}")


def assert_nothing_left(before: list[psutil.Process], scratch: Path) -> None:
    _, alive = psutil.wait_procs(before, timeout=5)
    assert alive == []
    assert list(scratch.iterdir()) == []


def test_handshake(tmp_path: Path) -> None:
    output = tmp_path / "out"
    done = run(bench("handshake", *SMALL, "--output-dir", output, "-o", "json"))
    assert done.returncode == 0, done.stderr
    data: dict[str, Any] = json.loads(done.stdout)
    jsonschema.validate(data, SCHEMA)
    assert json.loads((output / "results.json").read_text()) == data
    assert data["problems"] == []
    assert [case["loop"] for case in data["cases"]] == ["closed", "open"]
    assert len(data["samples"]) == len(list((output / "fortio").iterdir())) == 2 * 2 * 5
    signed = [one["batched"] + one["single"] for one in data["samples"]]
    expected = [
        one["envoy_handshakes"] if one["variant"] == "module" else 0 for one in data["samples"]
    ]
    if ifma_reason() is None:
        assert signed == expected
    for name in ("throughput.png", "latency.png", "cpu.png", "report.html"):
        assert (output / name).stat().st_size > 1000
    # Taken up again, nothing is left to be measured.
    before = (output / "samples.jsonl").read_text()
    again = run(bench("handshake", *SMALL, "--output-dir", output, "--resume"))
    assert again.returncode == 0, again.stderr
    assert (output / "samples.jsonl").read_text() == before
    assert "p256-k6-c4" in again.stdout


def test_crypto(tmp_path: Path) -> None:
    output = tmp_path / "out"
    options = ("--algorithm", "p256", "--seconds", "0.01")
    done = run(bench("crypto", *options, "--output-dir", output, "-o", "json"))
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)
    jsonschema.validate(data, SCHEMA)
    fills = {(one["subject"], one["fill"]) for one in data["speeds"]}
    assert {("openssl", 1), *(("engine", fill) for fill in range(1, 9))} <= fills
    assert (("crypto_mb", 8) in fills) == (ifma_reason() is None)
    assert all(one["per_second"]["least"] > 0 for one in data["speeds"])
    assert (output / "report.html").read_text().count("<tr") > len(data["speeds"])
    assert run(bench("crypto", "--output-dir", output)).returncode == 65


def test_interrupt_leaves_nothing_but_samples(tmp_path: Path, scratch: Path) -> None:
    process = begin(tmp_path / "out", scratch)
    before = children(process)
    assert before
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=WAIT_SECONDS)
    assert process.returncode == 1
    assert "Aborted!" in errors
    assert "Traceback" not in errors
    assert_nothing_left(before, scratch)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"samples.jsonl", "fortio"}


@pytest.mark.parametrize("name", ["envoy", "k6"])
def test_killed_child(tmp_path: Path, scratch: Path, name: str) -> None:
    process = begin(tmp_path / "out", scratch)
    before = children(process)
    wait_for_child(process, name).kill()
    output, errors = process.communicate(timeout=WAIT_SECONDS)
    assert process.returncode == 1
    assert output == ""
    assert "ended by signal SIGKILL" in errors
    assert "Traceback" not in errors
    assert_nothing_left(before, scratch)


def test_children_die_with_a_killed_benchmark(tmp_path: Path, scratch: Path) -> None:
    process = begin(tmp_path / "out", scratch)
    before = children(process)
    process.kill()
    process.communicate()
    _, alive = psutil.wait_procs(before, timeout=5)
    assert alive == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small file system")
def test_full_disk(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    command = " ".join(bench("handshake", *SMALL, "--output-dir", small / "out"))
    script = f"mount -t tmpfs -o size=16k tmpfs {small} && exec {command}"
    done = run(["unshare", "--mount", "sh", "-c", script])
    assert done.returncode == 1, done.stderr
    assert "No space left on device; free some space" in done.stderr
    assert "Traceback" not in done.stderr


def test_missing_tool(tmp_path: Path) -> None:
    command = bench("handshake", "--tool", "fortio", "--output-dir", tmp_path / "out")
    done = run(command, {**os.environ, "FORTIO": "/nonexistent/fortio"})
    assert done.returncode == 1
    assert done.stderr == "Error: FORTIO names /nonexistent/fortio, which is not a program\n"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "options",
    [
        ["--connections", "0"],
        ["--connections", "many"],
        ["--rates", "-5"],
        ["--repetitions", "4"],
        ["--gateway-cpus", "0-x"],
        ["--client-cpus", "4095"],
        ["--key", "ed25519"],
    ],
)
def test_bad_options(options: list[str]) -> None:
    done = run(bench("handshake", *options))
    assert done.returncode == 2
    assert done.stdout == ""
    assert options[0] in done.stderr
