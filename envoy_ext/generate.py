"""Writes the C files that depend on the Envoy version, from a table and the templates."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from envoy_ext.table import Function, Table

PACKAGE = Path(__file__).resolve().parent
GENERATED = PACKAGE / "generated"
OUTPUTS = ("exports.map", "mbk_abi.h", "mbk_hooks.c", "mbk_bootstrap_hooks.c", "mbk_layouts.c")

_RETURNS: Mapping[str, str] = {
    "abi_version": "const char *",
    "module_config": "const void *",
    "handshaker": "const void *",
    "bool": "bool ",
    "void": "void ",
    "extension_config": "const void *",
    "extension": "const void *",
    "http_status": "uint32_t ",
    "metrics_result": "uint32_t ",
    "timer": "void *",
}
_PARAMS: Mapping[str, str] = {
    "config_envoy": "void *",
    "name": "mbk_abi_buffer ",
    "config": "mbk_abi_buffer ",
    "capabilities": "mbk_abi_capabilities *",
    "module_config": "const void *",
    "ssl_ctx": "void *",
    "ssl": "void *",
    "handshaker": "const void *",
    "level": "uint32_t ",
    "text": "mbk_abi_buffer ",
    "extension_config": "const void *",
    "extension_envoy": "void *",
    "extension": "const void *",
    "completion": "mbk_abi_completion ",
    "completion_context": "void *",
    "timer": "void *",
    "method": "mbk_abi_buffer ",
    "path": "mbk_abi_buffer ",
    "body": "mbk_abi_buffer ",
    "stat_name": "mbk_abi_buffer ",
    "labels": "mbk_abi_buffer *",
    "label_count": "size_t ",
    "id_out": "size_t *",
    "id": "size_t ",
    "value": "uint64_t ",
    "delay_ms": "uint64_t ",
    "help": "mbk_abi_buffer ",
    "removable": "bool ",
    "mutates_server_state": "bool ",
}
_BUFFER_MEMBERS: Mapping[str, str] = {"ptr": "const char *ptr", "length": "size_t length"}
_LOG_ARGUMENTS: Mapping[str, str] = {"level": "(uint32_t)level", "text": "buffer"}
_WIDTH = 80  # characters; leaves room for what templates put around a prototype
# Roles that some Envoy versions pass and the module has no use for.
_UNUSED = frozenset({"config_envoy"})
_BOOTSTRAP_UNUSED: Mapping[str, frozenset[str]] = {
    "on_bootstrap_extension_new": frozenset({"extension_envoy"}),
    "on_bootstrap_extension_shutdown": frozenset({"extension_envoy"}),
    "on_bootstrap_extension_timer_fired": frozenset({"config_envoy", "timer"}),
    "on_bootstrap_extension_admin_request": frozenset({"method", "body"}),
}
_BOOTSTRAP_PREFIX = "callback_bootstrap_extension_"


class TemplatesMissingError(Exception):
    """The installation lacks the templates; the text says where they should be."""


def templates_dir() -> Path:
    """Return the folder of the templates: in the installed package, else in the checkout.

    Raises:
        TemplatesMissingError: it is in neither place.
    """
    places = (PACKAGE / "_templates", PACKAGE.parent / "templates")
    for place in places:
        if (place / "mbk_abi.h.j2").is_file():
            return place
    raise TemplatesMissingError(
        f"templates not found in {places[0]} nor {places[1]}: install the package again"
    )


def render(table: Table) -> dict[str, str]:
    """Return the generated files' texts by file name; the same table gives the same texts."""
    environment = Environment(
        loader=FileSystemLoader(templates_dir()),
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # the output is C; the schema keeps out what would break it
    )
    callbacks = {callback.name: callback for callback in table.callbacks}
    log = callbacks["callback_log"]
    names: dict[str, object] = {
        "banner": f"generated from {table.source} by python -m envoy_ext gen; do not edit",
        "table": table,
        "buffer_members": _BUFFER_MEMBERS,
        "prototype": _prototype,
        "unused": _unused,
        "log": log,
        "log_arguments": ", ".join(_LOG_ARGUMENTS[role] for role in log.params),
        "log_enabled": callbacks["callback_log_enabled"],
        "bootstrap": {
            callback.name.removeprefix(_BOOTSTRAP_PREFIX): callback
            for callback in table.bootstrap_callbacks
        },
        "call": _call,
    }
    return {name: environment.get_template(f"{name}.j2").render(names) for name in OUTPUTS}


def write(table: Table, folder: Path) -> list[Path]:
    """Write the generated files to `folder` and return those that were not up to date."""
    folder.mkdir(parents=True, exist_ok=True)
    changed = stale(table, folder)
    texts = render(table)
    for path in changed:
        path.write_text(texts[path.name], encoding="utf-8")
    return changed


def stale(table: Table, folder: Path) -> list[Path]:
    """Return the generated files in `folder` that are missing or differ from the table."""
    return [
        folder / name
        for name, text in render(table).items()
        if not (folder / name).is_file() or (folder / name).read_text(encoding="utf-8") != text
    ]


def _prototype(function: Function) -> str:
    params = [f"{_PARAMS[role]}{role}" for role in function.params] or ["void"]
    start = f"{_RETURNS[function.returns]}{function.symbol}("
    line = f"{start}{', '.join(params)})"
    if len(line) <= _WIDTH:
        return line
    return start + "\n    " + ",\n    ".join(params) + ")"


def _call(function: Function) -> str:
    """Return a call from where every parameter's role is the name of a variable."""
    return f"{function.symbol}({', '.join(function.params)})"


def _unused(hook: Function) -> list[str]:
    unused = _UNUSED
    if hook.name.startswith("on_bootstrap_"):
        unused = _BOOTSTRAP_UNUSED.get(hook.name, frozenset())
    return [role for role in hook.params if role in unused]
