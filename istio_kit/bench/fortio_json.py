"""Results in Fortio's format, so that `fortio report` draws those of both load generators.

The format is that of Fortio 1.66: durations in seconds, a histogram as a list of ranges with
their share of the count.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any

from istio_kit.bench.sample import Sample

_POINTS = (("min", 0.0), ("med", 50.0), ("p(90)", 90.0), ("p(99)", 99.0), ("p(99.9)", 99.9))
_NANOSECONDS = 1_000_000_000


def of_fortio(data: Mapping[str, Any], labels: str) -> dict[str, Any]:
    """Return Fortio's own result under our labels."""
    return {**data, "Labels": labels}


def of_k6(metrics: Mapping[str, Any], sample: Sample, labels: str) -> dict[str, Any]:
    """Return k6's summary; the histogram has one range between any two of its percentiles."""
    return {
        "RunType": "HTTP",
        "Labels": labels,
        "StartTime": datetime.datetime.now(datetime.UTC).isoformat(),
        "RequestedQPS": "max" if sample.rate is None else f"{sample.rate:g}",
        "RequestedDuration": f"{sample.seconds:.3f}s",
        "ActualQPS": sample.handshakes / sample.seconds,
        "ActualDuration": round(sample.seconds * _NANOSECONDS),
        "NumThreads": sample.connections,
        "Version": "k6",
        "DurationHistogram": _histogram(metrics["whole_request"]["values"]),
        "RetCodes": {"200": sample.handshakes, "-1": sample.failed},
        "SocketCount": sample.envoy_connections,
        "ConnectionStats": _histogram(metrics["http_req_tls_handshaking"]["values"]),
    }


def _histogram(values: Mapping[str, float]) -> dict[str, Any]:
    count = round(values["count"])
    ends = [*_POINTS[1:], ("max", 100.0)]
    ranges = [
        {
            "Start": values[start] / 1e3,
            "End": values[end] / 1e3,
            "Percent": percent,
            "Count": round(count * (percent - before) / 100),
        }
        for (start, before), (end, percent) in zip(_POINTS, ends, strict=True)
    ]
    return {
        "Count": count,
        "Min": values["min"] / 1e3,
        "Max": values["max"] / 1e3,
        "Data": ranges,
        "Percentiles": [
            {"Percentile": percent, "Value": values[name] / 1e3} for name, percent in _POINTS[1:]
        ],
    }
