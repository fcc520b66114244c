"""`metrics: true`: the bootstrap extension where it can be had, a reason where not."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from istio_kit.cli import cli

IMAGE = ("-s", "istio.proxy_image=example.com/proxy:1", "-s", "metrics=true")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["render", *IMAGE, *arguments])


def documents(*arguments: str) -> list[dict[str, Any]]:
    done = run(*arguments)
    assert done.exit_code == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def names(bootstrap: dict[str, Any]) -> list[str]:
    return [one["typed_config"]["extension_name"] for one in bootstrap["bootstrap_extensions"]]


def test_bootstrap_of_envoy() -> None:
    (bootstrap,) = documents("--target", "envoy")
    assert names(bootstrap) == ["multibuffer", "cryptomb"]


@pytest.mark.parametrize(
    "scope",
    [
        (),
        ("-s", "scope.gateway.kind=classic"),
        ("-s", "scope.kind=namespace"),
        ("-s", "scope.kind=workload", "-s", "scope.labels.app=a"),
    ],
)
def test_override_and_annotation_name_each_other(scope: tuple[str, ...]) -> None:
    found = documents(*scope)
    (override,) = [one for one in found if one.get("kind") == "ConfigMap"]
    assert names(json.loads(override["data"]["custom_bootstrap.json"])) == [
        "multibuffer",
        "cryptomb",
    ]
    text = yaml.safe_dump(found)
    assert f"sidecar.istio.io/bootstrapOverride: {override['metadata']['name']}" in text
    assert "multibuffer" in text[text.index("inclusionPrefixes") :]


@pytest.mark.parametrize(
    "arguments",
    [
        ("--scope", "mesh"),
        ("-s", "scope.gateway.kind=gateway-api"),
        ("--target", "envoy-gateway"),
        ("--target", "envoy", "-s", "envoy.form=fragment"),
        ("--provider", "cryptomb"),
    ],
)
def test_refused(arguments: tuple[str, ...]) -> None:
    done = run(*arguments)
    assert done.exit_code == 65
    assert "MBK0115" in done.stderr
    assert done.stdout == ""
