"""Secrets for Envoys that istiod configures: what Istio's agent serves beside every proxy.

The names are Istio's: `file-cert:CHAIN~KEY` and `file-root:CA` for files that a Gateway names,
`default` and `ROOTCA` for the workload's own identity. Only the messages that are needed are
encoded here, after envoy/service/discovery/v3 and envoy/extensions/transport_sockets/tls/v3.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import grpc

from istio_kit.lab import Certificate

_SERVICE = "/envoy.service.secret.v3.SecretDiscoveryService/StreamSecrets"
_SECRET = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
# Each stream keeps a thread; a proxy has one per secret.
_STREAMS = 64


class Secrets(grpc.GenericRpcHandler):
    """Answers every request for a secret once."""

    def __init__(self, workload: Certificate, root: Path) -> None:
        """Take the identity that `default` and `ROOTCA` stand for."""
        self._workload, self._root = workload, root

    def service(
        self, details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler[bytes, bytes] | None:
        """Return the handler of a method, if it is ours."""
        if details.method != _SERVICE:
            return None
        return grpc.stream_stream_rpc_method_handler(self._stream)

    def _stream(self, requests: Iterator[bytes], _: grpc.ServicerContext) -> Iterator[bytes]:
        told: set[str] = set()
        for request in requests:
            names = [value.decode() for number, value in _fields(request) if number == 3]  # noqa: PLR2004
            fresh = [name for name in names if name not in told]
            told.update(fresh)
            if fresh:
                yield self._response(fresh)

    def _response(self, names: list[str]) -> bytes:
        resources = b"".join(
            _field(2, _field(1, _SECRET.encode()) + _field(2, self._secret(name))) for name in names
        )
        return _field(1, b"1") + resources + _field(4, _SECRET.encode()) + _field(5, b"1")

    def _secret(self, name: str) -> bytes:
        kind, _, files = name.partition(":")
        if name == "ROOTCA" or kind == "file-root":
            root = Path(files) if files else self._root
            return _field(1, name.encode()) + _field(4, _field(1, _inline(root)))
        if files:
            chain, key = map(Path, files.split("~"))
        else:
            chain, key = self._workload.cert, self._workload.key
        pair = _field(1, _inline(chain)) + _field(2, _inline(key))
        return _field(1, name.encode()) + _field(2, pair)


def _inline(path: Path) -> bytes:
    """Return a DataSource with the file's bytes."""
    return _field(2, path.read_bytes())


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:  # noqa: PLR2004 - seven bits a byte
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _field(number: int, value: bytes) -> bytes:
    """Return a length-delimited field."""
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the length-delimited fields of a message; varints are passed over."""
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:  # noqa: PLR2004 - the last byte
                return value

    while at < len(message):
        tag = varint()
        size = varint()
        if tag & 7 == 2:  # noqa: PLR2004 - length-delimited
            yield tag >> 3, message[at : at + size]
            at += size


@contextmanager
def secrets(socket: Path, workload: Certificate, root: Path) -> Iterator[None]:
    """Serve secrets on a Unix socket inside a `with` block."""
    with ThreadPoolExecutor(_STREAMS) as pool:
        server = grpc.server(pool)
        server.add_generic_rpc_handlers((Secrets(workload, root),))
        server.add_insecure_port(f"unix:{socket}")
        server.start()
        try:
            yield
        finally:
            server.stop(0).wait()
