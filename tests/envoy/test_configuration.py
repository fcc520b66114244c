"""Faults of the configuration: one warning names the field, and TLS works as without us."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from envoy_kit import CANNOT_BATCH, Setup, running, s_client
from jsonschema import Draft202012Validator

from envoy_ext import artifacts
from envoy_ext.settings import config_schema
from istio_kit.lab import (
    Bootstrap,
    CertAuthority,
    Certificate,
    Chain,
    EnvoyProcess,
    KeyType,
    Listener,
    Module,
    ServerTls,
)
from istio_kit.lab.log import warnings_of

Issue = Callable[[KeyType], Certificate]

ASIDE = "standing aside, Envoy signs"
REFUSED = "strict, so connections are refused"
LEFT = "certificate left to Envoy: key type, size or public exponent is not handled"

#: What a refusal makes the log hold: our own reason, and Envoy's words for each way to say no.
REFUSING = (
    REFUSED,
    r"failed to load dynamic module TLS handshaker: Failed to initialize",
    r"dynamic module TLS handshaker failed to configure SSL_CTX$",
    r"dynamic module failed to create TLS handshaker; connection will be closed$",
)


@dataclass(frozen=True, slots=True)
class Fault:
    """A configuration, and what the warning must say."""

    settings: dict[str, Any] | str
    warning: str

    @property
    def is_strict(self) -> bool:
        """Whether it asks for strictness, in words that can be understood."""
        return isinstance(self.settings, dict) and self.settings.get("strict") is True


#: Wrong in themselves, in any process.
FAULTS = {
    "unknown field": Fault({"colour": "red"}, r"field 'colour' is not known"),
    "near miss": Fault({"Policy": "off"}, r"field 'Policy' is not known"),
    "policy: type": Fault({"policy": 1}, r"field 'policy' must be \"adaptive\" or \"off\""),
    "policy: value": Fault({"policy": "fast"}, r"field 'policy' must be"),
    "policy: null": Fault({"policy": None}, r"field 'policy' must be"),
    "algorithms: type": Fault({"algorithms": "p256"}, r"field 'algorithms' must be a list"),
    "algorithms: element": Fault({"algorithms": [256]}, r"field 'algorithms' must be a list"),
    "algorithms: value": Fault({"algorithms": ["p256", "p521"]}, r"'algorithms' must be .*p384"),
    "library: type": Fault({"library": 5}, r"field 'library' must be an absolute path"),
    "library: relative": Fault({"library": "mb.so"}, r"field 'library' must be an absolute path"),
    "library: empty": Fault({"library": ""}, r"field 'library' must be an absolute path"),
    "stats_file: type": Fault({"stats_file": []}, r"field 'stats_file' must be an absolute path"),
    "stats_file: relative": Fault({"stats_file": "s"}, r"field 'stats_file' must be"),
    "strict: type": Fault({"strict": "yes"}, r"field 'strict' must be true or false"),
    "NUL": Fault('{"library": "/a\\u0000b"}', r"'library' must be an absolute path"),
    "cut off": Fault('{"policy": "off"', r"configuration is not JSON: .* at byte \d+"),
    "text": Fault("policy=off", r"configuration is not JSON"),
    "single quotes": Fault("{'policy': 'off'}", r"configuration is not JSON"),
    "more after the end": Fault("{} {}", r"configuration is not JSON"),
    "list": Fault('["policy"]', r"configuration must be a JSON object"),
    "number": Fault("1", r"configuration (is not JSON|must be a JSON object)"),
    "null": Fault("null", r"configuration (is not JSON|must be a JSON object)"),
    "too long": Fault(" " * 70_000 + "{}", r"configuration is longer than 65536 bytes"),
    "too deep": Fault('{"a":' * 100 + "1" + "}" * 100, r"configuration is not JSON"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_schema_refuses_what_the_module_refuses(name: str) -> None:
    """What is no JSON at all is beyond a schema."""
    settings = FAULTS[name].settings
    try:
        document = json.loads(settings) if isinstance(settings, str) and settings else settings
    except json.JSONDecodeError:
        return
    # The module also limits the text's length and depth.
    fits = Draft202012Validator(config_schema()).is_valid(document)
    assert fits == (name == "too long")


def test_schema_accepts_what_the_module_accepts(
    ca: CertAuthority, server: Issue, tmp_path: Path
) -> None:
    """All fields at once, as the schema describes them."""
    setup = Setup(tmp_path / "stats")
    names = config_schema()["properties"]["algorithms"]["items"]["enum"]
    settings = setup.settings(algorithms=names, policy="off", strict=True)
    assert set(settings) == set(config_schema()["properties"])
    assert Draft202012Validator(config_schema()).is_valid(settings)
    config = Bootstrap(listeners=(listener("tls", server("p256"), settings),))
    with running(config, tmp_path) as envoy, setup.signs(p256=1):
        assert s_client(envoy.address("tls"), ca.cert).ok


def our_warnings(envoy: EnvoyProcess) -> list[str]:
    """Return the warnings that the module wrote; Envoy adds its own where we refuse."""
    return [line for line in warnings_of(envoy.log_text()) if " multibuffer: " in line]


def listener(name: str, certificate: Certificate, settings: dict[str, Any] | str) -> Listener:
    tls = ServerTls(certificates=(certificate,), module=Module(settings))
    return Listener(name, (Chain(tls=tls),))


def late_faults(setup: Setup, folder: Path) -> dict[str, Fault]:
    """Wrong beside a listener that came first: a process has one library and one counter file."""
    other = folder / "libcrypto_mb.so.13"
    if setup.library:
        other.write_bytes(setup.library.read_bytes())
    return {
        "another library": Fault(setup.settings(library=str(other)), r"libcrypto_mb"),
        "library is missing": Fault(
            setup.settings(library=str(folder / "none.so")), r"libcrypto_mb"
        ),
        "another counter file": Fault(
            setup.settings(stats_file=str(folder / "other")), r"stats_file .*/other"
        ),
    }


def test_faults_stand_aside(ca: CertAuthority, server: Issue, tmp_path: Path) -> None:
    setup = Setup(tmp_path / "stats")
    faults = FAULTS | late_faults(setup, tmp_path)
    listeners = [
        listener("good", server("p256"), setup.settings()),
        *(listener(name, server("p256"), fault.settings) for name, fault in faults.items()),
        listener("good again", server("p256"), setup.settings()),
    ]
    with running(Bootstrap(listeners=listeners), tmp_path, allowed=(ASIDE,)) as envoy:
        lines = warnings_of(envoy.log_text())
        assert len(lines) == len(faults), "\n".join(lines)
        for line, (name, fault) in zip(lines, faults.items(), strict=True):
            assert re.search(f"multibuffer: .*{fault.warning}.*; {ASIDE}$", line), name
        for name in faults:
            with setup.signs():
                seen = s_client(envoy.address(name), ca.cert)
            assert seen.ok, (name, seen.text)
        for name in ("good", "good again"):
            with setup.signs(p256=1):
                assert s_client(envoy.address(name), ca.cert).ok
        assert (setup.read().keys_hooked, setup.read().keys_left) == (2, 0)
        # Nothing is said again when connections come.
        assert warnings_of(envoy.log_text()) == lines


def strictly(fault: Fault) -> Fault:
    """Add strictness where the configuration has room for it."""
    if isinstance(fault.settings, str) or "strict" in fault.settings:
        return fault
    return Fault({**fault.settings, "strict": True}, fault.warning)


def test_faults_refuse_when_strict(ca: CertAuthority, server: Issue, tmp_path: Path) -> None:
    setup = Setup(tmp_path / "stats")
    faults = {
        name: strictly(fault) for name, fault in (FAULTS | late_faults(setup, tmp_path)).items()
    }
    listeners = [
        listener("good", server("p256"), setup.settings(strict=True)),
        *(listener(name, server("p256"), fault.settings) for name, fault in faults.items()),
    ]
    allowed = (ASIDE, *REFUSING)
    with running(Bootstrap(listeners=listeners), tmp_path, allowed=allowed) as envoy:
        lines = our_warnings(envoy)
        assert len(lines) == len(faults), "\n".join(lines)
        for line, (name, fault) in zip(lines, faults.items(), strict=True):
            result = REFUSED if fault.is_strict else ASIDE
            assert re.search(f"multibuffer: .*{fault.warning}.*; {result}$", line), name
            with setup.signs():
                seen = s_client(envoy.address(name), ca.cert)
            assert seen.ok is not fault.is_strict, (name, seen.text)
        with setup.signs(p256=1):
            assert s_client(envoy.address("good"), ca.cert).ok


def test_strict_refuses_keys_that_are_left(
    ca: CertAuthority, server: Issue, tmp_path: Path
) -> None:
    setup = Setup(tmp_path / "stats")
    only_p256 = setup.settings(strict=True, algorithms=["p256"])
    pair = ServerTls(certificates=(server("p256"), server("rsa2048")), module=Module(only_p256))
    listeners = [
        listener("p256", server("p256"), only_p256),
        listener("rsa", server("rsa2048"), only_p256),
        Listener("pair", (Chain(tls=pair),)),
    ]
    with running(Bootstrap(listeners=listeners), tmp_path, allowed=REFUSING) as envoy:
        ours = our_warnings(envoy)
        assert len(ours) == 2
        assert all(line.endswith(f"{LEFT}; {REFUSED}") for line in ours)
        for name in ("rsa", "pair"):
            with setup.signs():
                assert not s_client(envoy.address(name), ca.cert).ok
        with setup.signs(p256=1):
            assert s_client(envoy.address("p256"), ca.cert).ok


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("kind", ["missing", "no library", "another library"])
def test_library_that_cannot_be_used(
    ca: CertAuthority, server: Issue, tmp_path: Path, kind: str, *, strict: bool
) -> None:
    """In a process without any good configuration."""
    library = tmp_path / "libother.so"
    if kind == "no library":
        library.write_text("not a library\n")
    elif kind == "another library":
        library.write_bytes((artifacts.module_dir() / "libsvml.so").read_bytes())
    settings = Setup(tmp_path / "stats", library).settings(strict=strict, policy="adaptive")
    result = REFUSED if strict else ASIDE
    config = Bootstrap(listeners=(listener("tls", server("p256"), settings),))
    with running(config, tmp_path, allowed=REFUSING if strict else (ASIDE,)) as envoy:
        (line,) = our_warnings(envoy)
        assert re.search(f"libcrypto_mb cannot be loaded: .*; {result}$", line)
        assert str(library) in line
        assert s_client(envoy.address("tls"), ca.cert).ok is not strict
        assert not (tmp_path / "stats").exists()


def test_policy_off_needs_no_library(ca: CertAuthority, server: Issue, tmp_path: Path) -> None:
    setup = Setup(tmp_path / "stats", tmp_path / "none.so")
    settings = setup.settings(policy="off", strict=True)
    config = Bootstrap(listeners=(listener("tls", server("rsa2048"), settings),))
    with running(config, tmp_path) as envoy, setup.signs(rsa2048=2):
        for _ in range(2):
            assert s_client(envoy.address("tls"), ca.cert).ok
        assert setup.read().ops["rsa2048"]["single"] == 2


def test_another_library_is_named(server: Issue, tmp_path: Path) -> None:
    setup = Setup(tmp_path / "stats")
    other = str(tmp_path / "none.so")
    listeners = [
        listener("good", server("p256"), setup.settings()),
        listener("other", server("p256"), setup.settings(library=other)),
    ]
    with running(Bootstrap(listeners=listeners), tmp_path, allowed=(ASIDE,)) as envoy:
        (line,) = our_warnings(envoy)
        assert "'library'" in line or other in line


@pytest.mark.skipif(CANNOT_BATCH is not None, reason=str(CANNOT_BATCH))
def test_wrong_library_does_not_spoil_a_later_listener(
    ca: CertAuthority, server: Issue, tmp_path: Path
) -> None:
    setup = Setup(tmp_path / "stats")
    listeners = [
        listener("bad", server("p256"), setup.settings(library=str(tmp_path / "none.so"))),
        listener("good", server("p256"), setup.settings()),
    ]
    with running(Bootstrap(listeners=listeners), tmp_path, allowed=(ASIDE,)) as envoy:
        assert s_client(envoy.address("bad"), ca.cert).ok
        assert s_client(envoy.address("good"), ca.cert).ok
        assert setup.read().signed("p256") == 1


@pytest.mark.parametrize("settings", [{}, ""], ids=["empty object", "empty text"])
def test_defaults(
    ca: CertAuthority, server: Issue, tmp_path: Path, settings: dict[str, Any] | str
) -> None:
    """Every field is optional. The library is then looked for beside the module."""
    config = Bootstrap(listeners=(listener("tls", server("p256"), settings),))
    with running(config, tmp_path, allowed=(ASIDE,)) as envoy:
        assert s_client(envoy.address("tls"), ca.cert).ok
        assert "configuration" not in "".join(warnings_of(envoy.log_text()))


@pytest.mark.skipif(CANNOT_BATCH is not None, reason=str(CANNOT_BATCH))
def test_p256_is_left_by_default(ca: CertAuthority, server: Issue, tmp_path: Path) -> None:
    """Envoy's own lone signature is faster than one of ours with its verification."""
    setup = Setup(tmp_path / "stats")
    settings = setup.settings()
    del settings["algorithms"]
    listeners = [listener(key, server(key), settings) for key in ("rsa2048", "p384", "p256")]
    with running(Bootstrap(listeners=listeners), tmp_path, allowed=(LEFT,)) as envoy:
        assert len(our_warnings(envoy)) == 1
        with setup.signs(rsa2048=1, p384=1):
            for key in ("rsa2048", "p384", "p256"):
                assert s_client(envoy.address(key), ca.cert).ok


def test_counter_file_that_cannot_be_written(
    ca: CertAuthority, server: Issue, tmp_path: Path
) -> None:
    setup = Setup(tmp_path / "no such folder" / "stats")
    config = Bootstrap(listeners=(listener("tls", server("p256"), setup.settings()),))
    with running(config, tmp_path, allowed=(ASIDE,)) as envoy:
        (line,) = warnings_of(envoy.log_text())
        assert re.search(rf"stats_file .*no such folder/stats; {ASIDE}$", line)
        assert s_client(envoy.address("tls"), ca.cert).ok
