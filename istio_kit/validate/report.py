"""Findings as data for machines."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from istio_kit import __version__
from istio_kit.findings import Finding
from istio_kit.validate.codes import RULES

_SARIF_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"


def to_json(findings: Sequence[Finding]) -> str:
    """Return a JSON object with the list of findings."""
    listed = [one.as_dict() for one in findings]
    return json.dumps({"findings": listed}, indent=2, ensure_ascii=False)


def to_sarif(findings: Sequence[Finding]) -> str:
    """Return SARIF 2.1.0, which code hosts show beside the lines of a change."""
    rules = [
        {
            "id": code,
            "shortDescription": {"text": rule.title},
            "help": {"text": rule.mend},
            "defaultConfiguration": {"level": rule.severity},
        }
        for code, rule in RULES.items()
    ]
    tool = {"driver": {"name": "istio_kit validate", "version": __version__, "rules": rules}}
    run = {"tool": tool, "results": [_result(one) for one in findings]}
    log = {"$schema": _SARIF_SCHEMA, "version": "2.1.0", "runs": [run]}
    return json.dumps(log, indent=2, ensure_ascii=False)


def _result(one: Finding) -> dict[str, Any]:
    source, _, path = one.where.partition("::")
    file = source.partition(" (")[0] or "stdin"
    return {
        "ruleId": one.code,
        "level": one.severity,
        "message": {"text": f"{one.message}; {one.mend}"},
        "locations": [
            {
                "physicalLocation": {"artifactLocation": {"uri": file.replace(" ", "%20")}},
                "logicalLocations": [{"fullyQualifiedName": path}],
            }
        ],
    }
