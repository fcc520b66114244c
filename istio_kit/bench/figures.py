"""How samples become figures: medians over the repetitions, with confidence intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from istio_kit.bench.plan import Case, Variant
from istio_kit.bench.sample import METRICS, Sample

_RESAMPLES = 2000
_CONFIDENCE = 0.95
# The same samples give the same interval.
_SEED = 20260827


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure over the repetitions."""

    median: float
    low: float
    """95 % confidence interval of the median: percentile bootstrap over the repetitions."""
    high: float
    least: float
    most: float

    def __str__(self) -> str:
        """Return median and interval to three digits."""
        return f"{_short(self.median)} [{_short(self.low)}, {_short(self.high)}]"


@dataclass(frozen=True, slots=True)
class Result:
    """All repetitions of one case."""

    case: Case
    figures: dict[Variant, dict[str, Figure]]
    ratios: dict[Variant, dict[str, Figure]]
    """Variant divided by stock; each repetition's pair gives one ratio."""
    fill: dict[Variant, list[int]]
    """Batches with 1, 2, … 8 operations in them, over all repetitions."""
    batched: dict[Variant, float]
    """Share of the operations that were done in batches."""

    def as_dict(self) -> dict[str, Any]:
        """Return the result as JSON data."""
        return {**asdict(self), "loop": "closed" if self.case.rate is None else "open"}


def figure(values: Sequence[float]) -> Figure:
    """Return median, confidence interval and range."""
    data = np.asarray(values, dtype=float)
    chosen = np.random.default_rng(_SEED).choice(data, (_RESAMPLES, len(data)))
    tail = (1 - _CONFIDENCE) / 2
    low, high = np.quantile(np.median(chosen, axis=1), (tail, 1 - tail))
    return Figure(
        float(np.median(data)), float(low), float(high), float(data.min()), float(data.max())
    )


def summarise(samples: Sequence[Sample]) -> list[Result]:
    """Return one result per case, in the order of first appearance."""
    cases = dict.fromkeys(sample.case for sample in samples)
    return [_result(case, [one for one in samples if one.case == case]) for case in cases]


def _result(case: Case, samples: Sequence[Sample]) -> Result:
    by_variant: dict[Variant, list[Sample]] = {}
    for sample in sorted(samples, key=lambda sample: sample.repetition):
        by_variant.setdefault(sample.variant, []).append(sample)
    return Result(
        case,
        figures={
            variant: {
                name: figure([metric(one) for one in found]) for name, metric in METRICS.items()
            }
            for variant, found in by_variant.items()
        },
        ratios={
            variant: _ratios(by_variant["stock"], found)
            for variant, found in by_variant.items()
            if variant != "stock" and "stock" in by_variant
        },
        fill={
            variant: [sum(column) for column in zip(*(one.fill for one in found), strict=True)]
            for variant, found in by_variant.items()
            if variant == "module"
        },
        batched={
            variant: sum(one.batched for one in found)
            / max(1, sum(one.batched + one.single for one in found))
            for variant, found in by_variant.items()
            if variant != "stock"
        },
    )


def _ratios(stock: Sequence[Sample], other: Sequence[Sample]) -> dict[str, Figure]:
    pairs = list(zip(stock, other, strict=True))
    return {
        name: figure([metric(theirs) / metric(ours) for ours, theirs in pairs])
        for name, metric in METRICS.items()
        # A sample without a single handshake has no percentiles to compare.
        if all(metric(ours) > 0 for ours, _ in pairs)
    }


def _short(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"  # noqa: PLR2004 - three digits
