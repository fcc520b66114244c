from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from bench_kit import sample, stock

from istio_kit.bench import figures, plots, report
from istio_kit.bench.fortio_json import of_k6
from istio_kit.bench.handshake import notes
from istio_kit.bench.plan import Case, Plan
from istio_kit.bench.sample import Sample, problems
from istio_kit.bench.store import Store
from istio_kit.errors import InputError

PLAN = Plan(
    keys=("rsa2048",),
    tls="1.3",
    tools=("k6",),
    variants=("stock", "module"),
    connections=(1, 64),
    rates=(),
    rate_shares=(0.5, 1.5),
    repetitions=5,
    seconds=1.0,
    gateway_cpus=(0,),
    client_cpus=(1,),
    isolated=False,
    server=False,
)


def test_median_interval_and_range() -> None:
    found = figures.figure([5.0, 1.0, 3.0, 2.0, 4.0])
    assert (found.median, found.least, found.most) == (3.0, 1.0, 5.0)
    assert 1.0 <= found.low < 3.0 < found.high <= 5.0
    assert figures.figure([5.0, 1.0, 3.0, 2.0, 4.0]) == found
    same = figures.figure([2.0] * 5)
    assert (same.low, same.high) == (2.0, 2.0)


def test_ratios_are_of_one_repetition() -> None:
    samples = [
        stock(repetition=1, handshakes=1000),
        sample(repetition=1, handshakes=2000),
        sample(repetition=2, handshakes=300),
        stock(repetition=2, handshakes=100),
    ]
    (result,) = figures.summarise(samples)
    ratio = result.ratios["module"]["handshakes_per_second"]
    assert (ratio.least, ratio.median, ratio.most) == (2.0, 2.5, 3.0)
    assert result.figures["stock"]["handshakes_per_second"].median == 275
    assert result.figures["module"]["envoy_cpu_us_per_handshake"].median == pytest.approx(500)
    assert result.fill == {"module": [0, 0, 0, 0, 0, 0, 200, 50]}
    assert result.batched == {"module": pytest.approx(0.9)}


def test_sound_samples_have_no_problems() -> None:
    fortio = sample(tool="fortio", handshakes=984, warm_up=16)
    saturated = sample(loop="open", rate=900.0, not_started=800)
    single = sample(variant="single", batched=0, single=1000)
    for one in (sample(), stock(), fortio, saturated, single):
        assert problems(one, can_batch=True) == []


@pytest.mark.parametrize(
    ("bad", "text"),
    [
        (sample(handshakes=980, failed=20), "980 of 1000 requests were answered"),
        (sample(handshakes=0, envoy_handshakes=0), "0 of 0 requests were answered"),
        (sample(envoy_handshakes=999), "Envoy counted 999 handshakes, not 1000"),
        (sample(envoy_connections=16), "Envoy counted 16 connections, 1000 handshakes"),
        (sample(envoy_resumed=3), "3 handshakes resumed a session"),
        (sample(single=99), "the module signed 999 of 1000 handshakes"),
        (stock(single=1), "the module signed 1 times where it should not be"),
    ],
)
def test_problems_are_found(bad: Sample, text: str) -> None:
    found = problems(bad, can_batch=True)
    assert any(text in line for line in found), found
    assert all(line.startswith("repetition 1, rsa2048-k6-c64, ") for line in found)


def test_module_need_not_sign_where_it_cannot_batch() -> None:
    assert problems(sample(batched=0, single=0), can_batch=False) == []


def test_a_busy_client_is_noted() -> None:
    assert notes(PLAN, [stock()]) == []
    (note,) = notes(PLAN, [stock(client_cpu_seconds=2.0)])
    assert "Envoy could have done more" in note
    (note,) = notes(replace(PLAN, client_cpus=(0, 1)), [stock()])
    assert "share CPUs" in note


def test_order_and_rates() -> None:
    assert list(PLAN.order(1)) == ["module", "stock"]
    assert list(PLAN.order(2)) == ["stock", "module"]
    assert PLAN.closed("rsa2048") == [Case("rsa2048", "k6", 1), Case("rsa2048", "k6", 64)]
    assert [case.rate for case in PLAN.open("rsa2048", 1234.0)] == [620.0, 1900.0]
    assert PLAN.samples == (2 + 2) * 5 * 2


def test_store_takes_up_what_is_there(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    store = Store(folder, {"plan": 1}, resume=False)
    store.add(stock(), {"RunType": "HTTP"})
    store.add(sample(), {"RunType": "HTTP"})
    path = folder / "samples.jsonl"
    whole = path.read_text()
    path.write_text(whole + '{"repetition": 2, "vari')
    assert Store(folder, {"plan": 1}, resume=True).samples == [stock(), sample()]
    assert path.read_text() == whole
    with pytest.raises(InputError, match="--resume"):
        Store(folder, {"plan": 1}, resume=False)
    with pytest.raises(InputError, match="other options"):
        Store(folder, {"plan": 2}, resume=True)
    path.write_text('{"plan": 1}\n{"colour": "red"}\n')
    with pytest.raises(InputError, match="not a file of samples"):
        Store(folder, {"plan": 1}, resume=True)


def test_store_keeps_to_its_own_folder(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(InputError, match="other files"):
        Store(tmp_path, {}, resume=True)
    with pytest.raises(InputError, match="is a file"):
        Store(tmp_path / "letter.txt", {}, resume=False)
    store = Store(tmp_path / "new", {}, resume=False)
    store.discard_if_empty()
    assert not (tmp_path / "new").exists()


def test_k6_in_fortios_format() -> None:
    values = {"count": 1000, "min": 1, "med": 2, "p(90)": 3, "p(99)": 4, "p(99.9)": 5, "max": 6}
    metrics = {name: {"values": values} for name in ("whole_request", "http_req_tls_handshaking")}
    data = of_k6(metrics, sample(), "module")
    histogram = data["DurationHistogram"]
    assert histogram["Count"] == sum(part["Count"] for part in histogram["Data"]) == 1000
    assert histogram["Data"][0] == {"Start": 0.001, "End": 0.002, "Percent": 50.0, "Count": 500}
    for before, after in pairwise(histogram["Data"]):
        assert before["End"] == after["Start"]
    assert data["ActualQPS"] == 500


def test_plots_and_report(tmp_path: Path) -> None:
    samples = [
        make(repetition=number, connections=connections, rate=rate)
        for number in (1, 2)
        for make in (stock, sample)
        for connections, rate in ((1, None), (64, None), (256, 500.0), (256, 900.0))
    ]
    results = figures.summarise(samples)
    pictures = plots.draw(results, tmp_path)
    assert [path.name for path in pictures] == [
        "throughput.png",
        "cpu.png",
        "latency.png",
        "fill.png",
    ]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in pictures)
    data = {
        "plan": {**PLAN.as_dict(), "note": "<script>"},
        "problems": ["a < b"],
        "notes": [],
        "host": {"cpu_model": "x", "cpus": 2, "governor": "y", "kernel": "z", "cpu_flags": []},
        "versions": {"envoy": "1"},
        "commands": {"stock": "envoy"},
    }
    page = report.render("bench_handshake.html.j2", data, pictures, results)
    assert "Not to be believed: a &lt; b" in page
    assert page.count("data:image/png;base64,") == len(pictures)
    for outside in ("http://", "https://", "<script"):
        assert outside not in page
    assert json.dumps(PLAN.as_dict())
