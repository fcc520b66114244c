"""Loads and checks the tables that describe Envoy versions (``envoy_ext/tables/*.yaml``)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError, best_match

TABLES = Path(__file__).resolve().parent / "tables"

# Parameters that the shim cannot do without, and what each hook must return.
_HOOK_NEEDS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "on_program_init": ("abi_version", ()),
    "on_tls_handshaker_config_new": ("module_config", ("name", "config", "capabilities")),
    "on_tls_handshaker_config_destroy": ("void", ("module_config",)),
    "on_tls_handshaker_configure_ssl_context": ("bool", ("module_config", "ssl_ctx")),
    "on_tls_handshaker_new": ("handshaker", ("module_config", "ssl")),
    "on_tls_handshaker_destroy": ("void", ("handshaker",)),
}
_BOOTSTRAP_NEEDS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "on_bootstrap_extension_config_new": ("extension_config", ("config_envoy", "name", "config")),
    "on_bootstrap_extension_config_destroy": ("void", ("extension_config",)),
    "on_bootstrap_extension_new": ("extension", ("extension_config",)),
    "on_bootstrap_extension_shutdown": (
        "void",
        ("extension", "completion", "completion_context"),
    ),
    "on_bootstrap_extension_timer_fired": ("void", ("extension_config",)),
    "on_bootstrap_extension_admin_request": (
        "http_status",
        ("config_envoy", "extension_config", "path"),
    ),
}

_MENDING: Mapping[str, str] = {
    "additionalProperties": "remove it or mend its spelling",
    "required": "add it",
    "type": "mend its type (a version number needs quotes)",
    "multipleOf": "check the offset: it is in bytes, and fields are aligned",
}


class TableError(Exception):
    """A table is unusable; the text names the file, the place in it and the mending."""


@dataclass(frozen=True)
class Release:
    """A release of Envoy; ``build_id`` is its GNU build-id in hexadecimal."""

    version: str
    build_id: str
    source: str


@dataclass(frozen=True)
class Function:
    """A hook or callback: ``symbol`` is its full name, ``params`` the roles in order."""

    name: str
    symbol: str
    returns: str
    params: tuple[str, ...]


@dataclass(frozen=True)
class Layout:
    """Offsets in bytes inside the structures of one BoringSSL build, by field of mbk_layout."""

    name: str
    boringssl: str
    offsets: Mapping[str, int]
    build_ids: tuple[str, ...]
    abi_version: str
    how: str


@dataclass(frozen=True)
class Table:
    """One minor version of Envoy; ``source`` is the name of the file."""

    source: str
    envoy: str
    releases: tuple[Release, ...]
    abi_version: str
    buffer: tuple[str, ...]
    capabilities: tuple[str, ...]
    hooks: tuple[Function, ...]
    callbacks: tuple[Function, ...]
    log_levels: tuple[tuple[str, int], ...]
    bootstrap_hooks: tuple[Function, ...]
    ignored_hooks: tuple[str, ...]
    bootstrap_callbacks: tuple[Function, ...]
    layouts: tuple[Layout, ...]

    def layout_of(self, build_id: str) -> Layout | None:
        """Return the layout that was read in the binary with this build-id."""
        return next((one for one in self.layouts if build_id in one.build_ids), None)

    def layout_named(self, name: str | None) -> Layout:
        """Return the layout of that name; the first for None.

        Raises:
            TableError: there is none.
        """
        for layout in self.layouts:
            if name in (None, layout.name):
                return layout
        raise TableError(f"{self.source}: has no layout {name or ''}; add one with layout probe")


def schema() -> dict[str, Any]:
    """Return the JSON Schema of the tables."""
    loaded: dict[str, Any] = json.loads((TABLES / "schema.json").read_text())
    return loaded


def layout_fields() -> tuple[str, ...]:
    """Return the fields of a layout, in the order of mbk_layout."""
    return tuple(schema()["$defs"]["layout"]["properties"]["offsets"]["required"])


def table_paths() -> list[Path]:
    """Return the tables that come with the package, oldest Envoy first."""
    return sorted(TABLES.glob("*.yaml"), key=lambda path: [int(n) for n in path.stem.split(".")])


def load(path: Path) -> Table:
    """Read and check one table.

    Raises:
        TableError: the file cannot be read, or something in it is wrong.
    """
    document = _read(path)
    _check_schema(path, document)
    _check_meaning(path, document)
    return _build(path, document)


def layout_of_entry(entry: Mapping[str, Any]) -> Layout:
    """Make a layout from an entry of ``layouts`` that has the form which the schema asks for."""
    evidence = entry["evidence"]
    return Layout(
        name=entry["name"],
        boringssl=entry["boringssl"],
        offsets=dict(entry["offsets"]),
        build_ids=tuple(evidence["build_ids"]),
        abi_version=evidence["abi_version"],
        how=evidence["how"],
    )


def _read(path: Path) -> Any:  # noqa: ANN401 - whatever the file holds; the schema tells
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise TableError(f"{path}: cannot be read: {error.strerror}; check the path") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise TableError(f"{path}: not YAML: {error}; mend the syntax there") from error


def _place(steps: Sequence[str | int]) -> str:
    place = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)
    return place.lstrip(".") or "top level"


def _check_schema(path: Path, document: object) -> None:
    error: ValidationError | None = best_match(Draft202012Validator(schema()).iter_errors(document))
    if error is None:
        return
    mending = _MENDING.get(str(error.validator), "see envoy_ext/tables/schema.json")
    raise TableError(f"{path}: {_place(list(error.absolute_path))}: {error.message}; {mending}")


def _check_meaning(path: Path, document: Mapping[str, Any]) -> None:
    """Check what a schema cannot say."""
    _check_hooks(path, "hooks", document["hooks"], _HOOK_NEEDS)
    _check_hooks(path, "bootstrap.hooks", document["bootstrap"]["hooks"], _BOOTSTRAP_NEEDS)
    _check_unique(path, "releases", [one["version"] for one in document["releases"]])
    _check_unique(path, "layouts", [one["name"] for one in document["layouts"]])


def _check_hooks(
    path: Path,
    place: str,
    hooks: Mapping[str, Any],
    needs: Mapping[str, tuple[str, tuple[str, ...]]],
) -> None:
    for hook, (returns, needed) in needs.items():
        shape = hooks[hook]
        missing = [role for role in needed if role not in shape["params"]]
        if missing:
            raise TableError(
                f"{path}: {place}.{hook}.params: without {', '.join(missing)} the module cannot "
                "work; add the role, or this Envoy cannot be supported"
            )
        if shape["returns"] != returns:
            raise TableError(
                f"{path}: {place}.{hook}.returns: {shape['returns']}; the module needs {returns}"
            )


def _check_unique(path: Path, place: str, names: list[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise TableError(f"{path}: {place}: {', '.join(twice)} is there twice; remove one")


def _functions(prefix: str, shapes: Mapping[str, Any]) -> tuple[Function, ...]:
    return tuple(
        Function(name, prefix + name, shape["returns"], tuple(shape["params"]))
        for name, shape in shapes.items()
    )


def _build(path: Path, document: Mapping[str, Any]) -> Table:
    abi, types = document["abi"], document["types"]
    callbacks = dict(document["callbacks"])
    levels = callbacks.pop("log_levels")
    bootstrap = document["bootstrap"]
    return Table(
        source=path.name,
        envoy=document["envoy"],
        releases=tuple(Release(**release) for release in document["releases"]),
        abi_version=abi["version"],
        buffer=tuple(types["buffer"]),
        capabilities=tuple(types["capabilities"]),
        hooks=_functions(abi["prefix"], document["hooks"]),
        callbacks=_functions(abi["prefix"], callbacks),
        log_levels=tuple(sorted(levels.items(), key=lambda level: int(level[1]))),
        bootstrap_hooks=_functions(abi["prefix"], bootstrap["hooks"]),
        ignored_hooks=tuple(abi["prefix"] + name for name in bootstrap["ignored_hooks"]),
        bootstrap_callbacks=_functions(abi["prefix"], bootstrap["callbacks"]),
        layouts=tuple(layout_of_entry(entry) for entry in document["layouts"]),
    )
