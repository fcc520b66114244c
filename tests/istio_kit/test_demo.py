from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest

from envoy_ext import cpu
from istio_kit.demo import data, run, table
from istio_kit.demo.data import Sample
from istio_kit.lab import host

STOCK = Sample(
    round=1,
    target="stock",
    connections=64,
    handshakes=1000,
    failed=0,
    seconds=2.0,
    tls_p50_ms=4.0,
    tls_p90_ms=5.0,
    tls_p99_ms=6.0,
    request_p50_ms=8.0,
    request_p90_ms=9.0,
    request_p99_ms=10.0,
    envoy_cpu_seconds=1.0,
    client_cpu_seconds=0.5,
)
MODULE = replace(
    STOCK,
    target="module",
    handshakes=3000,
    tls_p50_ms=2.0,
    operations={"batched": 2900, "single": 100, "failed": 0, "dropped": 1},
    fill=[0, 0, 0, 0, 0, 0, 100, 275],
)
SETTINGS = run.Settings(
    seconds=2, rounds=2, connections=64, key="rsa2048", tls="1.3", gateway_cpu=0, client_cpu=1
)


def test_figures_and_ratios() -> None:
    second = replace(MODULE, round=2, handshakes=2000)
    (case,) = data.summarise([STOCK, MODULE, replace(STOCK, round=2), second])
    assert case.figures["stock"]["handshakes_per_second"] == data.Spread(500, 500, 500)
    assert case.figures["module"]["handshakes_per_second"] == data.Spread(1250, 1000, 1500)
    assert case.ratios["handshakes_per_second"] == data.Spread(2.5, 2.0, 3.0)
    assert case.ratios["tls_p50_ms"].median == 0.5
    assert case.figures["stock"]["envoy_cpu_us_per_handshake"].median == pytest.approx(1000)
    assert case.operations == {"batched": 5800, "single": 200, "failed": 0, "dropped": 2}
    assert case.fill == [0, 0, 0, 0, 0, 0, 200, 550]


def test_a_sound_run_has_no_problems() -> None:
    assert run.problems([STOCK, MODULE], must_sign=True) == []


@pytest.mark.parametrize(
    ("sample", "text"),
    [
        (replace(MODULE, handshakes=3001), "the module signed 3000 of 3001 handshakes"),
        (replace(STOCK, failed=2), "2 handshakes failed"),
        (replace(STOCK, handshakes=0), "no handshake succeeded"),
    ],
)
def test_problems_are_found(sample: Sample, text: str) -> None:
    (problem,) = run.problems([sample], must_sign=True)
    assert text in problem


def test_a_module_that_stands_aside_need_not_sign() -> None:
    aside = replace(MODULE, operations={}, fill=[])
    assert run.problems([aside], must_sign=False) == []


def test_a_busy_client_is_noted() -> None:
    assert run.notes(SETTINGS, [STOCK]) == []
    (note,) = run.notes(SETTINGS, [replace(STOCK, client_cpu_seconds=2.0)])
    assert "Envoy could have done more" in note
    (note,) = run.notes(replace(SETTINGS, client_cpu=0), [STOCK])
    assert "share one CPU" in note


def test_client_gets_another_cpu_where_there_is_one() -> None:
    usable = host.usable_cpus()
    assert (host.client_cpu_for(usable[0]) != usable[0]) == (len(usable) > 1)


def run_demo(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "istio_kit", "demo", "--seconds", "0.5", "--rounds", "1"]
    return subprocess.run([*command, *options], capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    done = run_demo("-o", "json", "--connections", "16")
    assert done.returncode == 0, done.stderr
    assert "round 1/1, 16 connections, module" in done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def test_json_report(report: dict[str, Any]) -> None:
    assert report["schema_version"] == data.SCHEMA_VERSION
    assert (report["passed"], report["failed_handshakes"], report["problems"]) == (True, 0, [])
    assert report["cpu"]["model"]
    assert set(report["versions"]) == {"istio_kit", "python", "envoy", "k6", "crypto_mb"}
    assert set(report["commands"]) == {"stock", "module", "k6"}
    assert [case["connections"] for case in report["cases"]] == [16, 1]
    for case in report["cases"]:
        assert set(case["figures"]) == {"stock", "module"}
        assert set(case["ratios"]) == set(data.METRICS)
        assert case["figures"]["stock"]["handshakes_per_second"]["median"] > 0
    assert [sample["target"] for sample in report["samples"]] == ["stock", "module"] * 2
    assert report["batching"] == (cpu.ifma_reason() is None)


@pytest.mark.skipif(cpu.ifma_reason() is not None, reason="this CPU cannot batch")
def test_every_handshake_was_signed_by_the_module(report: dict[str, Any]) -> None:
    assert report["keys"]["hooked"] > 0
    for sample in report["samples"]:
        operations = sample["operations"]
        if sample["target"] == "stock":
            assert not operations
        else:
            assert operations["batched"] + operations["single"] >= sample["handshakes"]
            assert operations["failed"] == 0
            lanes = sum(fill * count for fill, count in enumerate(sample["fill"], start=1))
            assert lanes >= operations["batched"]


def test_table_shows_every_figure(capsys: pytest.CaptureFixture[str]) -> None:
    samples = [STOCK, MODULE]
    table.show(
        data.Report(
            cpu={"model": "Some CPU", "usable": 2, "gateway": 0, "client": 1},
            versions={"envoy": "1.40.0"},
            settings={"key": "rsa2048", "tls": "1.3", "rounds": 1, "seconds": 2.0},
            batching=False,
            reason="no AVX-512 IFMA",
            module_log=["multibuffer: standing aside"],
            keys={"hooked": 0, "left": 1},
            cases=data.summarise(samples),
            samples=samples,
            commands={},
            notes=["a note"],
            problems=[],
        )
    )
    text = capsys.readouterr().out
    for part in ("Some CPU", "1500 ±0", "3.00 ±0.00", "2900", "envoy 1.40.0", "Note: a note"):
        assert part in text
    assert "The module stood aside on this CPU: no AVX-512 IFMA." in text
    assert "multibuffer: standing aside" in text
