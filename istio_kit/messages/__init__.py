"""Envoy's messages, typed: what is rendered is built and checked with them.

The descriptors in ``envoy.binpb`` are those of go-control-plane (`make descriptors`; the versions
are in ``dump/go.mod``). They are used instead of the dataclasses of envoy-data-plane because they
load in milliseconds (importing the latter's TLS messages alone takes a third of a second, more than
a whole rendering may), name the place of an error, and include contrib. Messages that Envoy
1.40.0 has and they have not are defined here.
"""

from __future__ import annotations

import copy
from functools import cache
from pathlib import Path
from typing import Any

# Registers the well-known types in the default pool; ours takes them from there.
from google.protobuf import (  # noqa: F401
    any_pb2,
    descriptor_pb2,
    descriptor_pool,
    duration_pb2,
    json_format,
    message_factory,
    struct_pb2,
    wrappers_pb2,
)

Json = dict[str, Any]

TYPE_PREFIX = "type.googleapis.com/"
TYPED_STRUCT = "xds.type.v3.TypedStruct"
TYPED_STRUCTS = (TYPED_STRUCT, "udpa.type.v1.TypedStruct")
DOWNSTREAM = "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"
UPSTREAM = "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
BOOTSTRAP = "envoy.config.bootstrap.v3.Bootstrap"
HANDSHAKER = (
    "envoy.extensions.transport_sockets.tls.handshakers.dynamic_modules.v3."
    "DynamicModuleTlsHandshaker"
)
HANDSHAKER_NAME = "envoy.tls.handshakers.dynamic_modules"
TLS_SOCKET = "envoy.transport_sockets.tls"

_FILE = Path(__file__).resolve().parent / "envoy.binpb"


class MessageError(Exception):
    """A message does not have the form that Envoy demands; the text says where and why."""


def type_url(name: str) -> str:
    """Return the ``@type`` of a message."""
    return TYPE_PREFIX + name


def checked(name: str, value: Json) -> Json:
    """Return `value` after making sure that Envoy reads it: fields known, values of their types.

    Any messages inside are checked as well, TypedStructs are not looked into.

    Raises:
        MessageError: something does not fit.
    """
    try:
        # A copy: the parser takes fields of Any messages out and puts them back elsewhere.
        json_format.ParseDict(copy.deepcopy(value), _class(name)(), descriptor_pool=_pool())
    except json_format.ParseError as error:
        raise MessageError(str(error).split("\n")[0]) from error
    return value


def is_known(name: str) -> bool:
    """Whether there is a descriptor of that message."""
    try:
        _pool().FindMessageTypeByName(name)
    except KeyError:
        return False
    return True


@cache
def _class(name: str) -> Any:  # noqa: ANN401 - made at run time
    return message_factory.GetMessageClass(_pool().FindMessageTypeByName(name))


@cache
def _pool() -> descriptor_pool.DescriptorPool:
    pool = descriptor_pool.DescriptorPool()
    known = descriptor_pb2.FileDescriptorSet.FromString(_FILE.read_bytes())
    waiting = {file.name: file for file in known.file}

    def add(file: descriptor_pb2.FileDescriptorProto) -> None:
        for name in file.dependency:
            if needed := waiting.pop(name, None):
                add(needed)
        pool.Add(file)

    while waiting:
        add(waiting.pop(next(iter(waiting))))
    pool.Add(_handshaker_file())
    return pool


def _handshaker_file() -> descriptor_pb2.FileDescriptorProto:
    """Describe Envoy 1.40.0's handshaker, read in its release binary."""
    package, _, name = HANDSHAKER.rpartition(".")
    module = "envoy.extensions.dynamic_modules.v3.DynamicModuleConfig"
    fields = (
        ("dynamic_module_config", module),
        ("handshaker_name", None),
        ("handshaker_config", "google.protobuf.Any"),
    )
    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(
        name="istio_kit/handshaker.proto",
        package=package,
        syntax="proto3",
        dependency=[
            "envoy/extensions/dynamic_modules/v3/dynamic_modules.proto",
            "google/protobuf/any.proto",
        ],
    )
    message = file.message_type.add(name=name)
    for number, (field, of) in enumerate(fields, start=1):
        message.field.add(
            name=field,
            number=number,
            label=kinds.LABEL_OPTIONAL,
            type=kinds.TYPE_MESSAGE if of else kinds.TYPE_STRING,
            type_name=f".{of}" if of else None,
        )
    return file
