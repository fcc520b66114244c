"""What is rendered: one document, a list of them, and the text of both."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import yaml

Json = dict[str, Any]
Role: TypeAlias = Literal["object", "helm values", "patch", "envoy"]


@dataclass(frozen=True, slots=True)
class Document:
    """One document.

    ``file`` is its name below the output folder. ``role``: an object for ``kubectl apply``, values
    for Helm, a patch, or Envoy's own configuration. ``use`` is the command that it is for, ``why``
    tells what it does and why it has this form.
    """

    file: str
    role: Role
    body: Json
    use: str
    why: tuple[str, ...]


class _Dumper(yaml.SafeDumper):
    """Text with line breaks as a block, so that embedded YAML can be read; no anchors."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 - PyYAML's signature
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    style = "|" if "\n" in value else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _text)


def dump(value: object) -> str:
    """Return YAML text; the order of fields is kept."""
    text: str = yaml.dump(value, Dumper=_Dumper, sort_keys=False, width=4096, allow_unicode=True)
    return text


def to_yaml(documents: Sequence[Document]) -> str:
    """Return all documents as one YAML stream."""
    return "".join(f"---\n# Source: {one.file}\n# {one.use}\n{dump(one.body)}" for one in documents)


def to_json(documents: Sequence[Document]) -> str:
    """Return a JSON list: file, role, use and document of each."""
    listed = [
        {"file": one.file, "role": one.role, "use": one.use, "document": one.body}
        for one in documents
    ]
    return json.dumps(listed, indent=2, ensure_ascii=False) + "\n"
