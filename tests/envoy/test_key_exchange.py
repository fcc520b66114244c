"""RSA key exchange of TLS 1.2: the module decrypts, and tells an attacker no more than Envoy does.

The small client below sends whatever premaster secret it is given. Its Finished message is
garbage, so that no handshake of it succeeds: only the way in which it fails is of interest.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from envoy_kit import SECONDS, Setup, running, s_client

from istio_kit.lab import (
    Bootstrap,
    CertAuthority,
    Certificate,
    Chain,
    EnvoyProcess,
    KeyType,
    Listener,
    ServerTls,
)

KEYS: tuple[KeyType, ...] = ("rsa2048", "rsa3072", "rsa4096")
CIPHER = "AES128-GCM-SHA256"
CIPHER_CODE = 0x009C

HANDSHAKE, CHANGE_CIPHER_SPEC = 22, 20
CLIENT_HELLO, CLIENT_KEY_EXCHANGE, HELLO_DONE = 1, 16, 14
TLS12 = b"\x03\x03"


def _record(kind: int, body: bytes) -> bytes:
    return bytes([kind]) + TLS12 + struct.pack(">H", len(body)) + body


def _message(kind: int, body: bytes) -> bytes:
    return bytes([kind]) + len(body).to_bytes(3, "big") + body


def _client_hello() -> bytes:
    random, no_session = os.urandom(32), b"\0"
    ciphers, null_compression = struct.pack(">HH", 2, CIPHER_CODE), b"\1\0"
    signatures = struct.pack(">HHHH", 13, 4, 2, 0x0401)
    extensions = struct.pack(">H", len(signatures)) + signatures
    body = TLS12 + random + no_session + ciphers + null_compression + extensions
    return _record(HANDSHAKE, _message(CLIENT_HELLO, body))


def _read_record(tls: socket.socket) -> tuple[int, bytes] | None:
    def exactly(count: int) -> bytes:
        data = b""
        while len(data) < count:
            part = tls.recv(count - len(data))
            if not part:
                return b""
            data += part
        return data

    header = exactly(5)
    return (header[0], exactly(int.from_bytes(header[3:], "big"))) if header else None


def _last_message(flight: bytes) -> int | None:
    """Kind of the last handshake message that is complete."""
    kind, at = None, 0
    while at + 4 <= len(flight):
        length = int.from_bytes(flight[at + 1 : at + 4], "big")
        if at + 4 + length > len(flight):
            return None
        kind, at = flight[at], at + 4 + length
    return kind


def answer_to(address: tuple[str, int], encrypted: bytes) -> list[tuple[int, bytes]]:
    """Return the records that the server sends after this encrypted premaster secret."""
    with socket.create_connection(address, SECONDS) as tls:
        tls.sendall(_client_hello())
        flight = b""
        while _last_message(flight) != HELLO_DONE:
            record = _read_record(tls)
            assert record is not None
            assert record[0] == HANDSHAKE, record
            flight += record[1]
        exchange = struct.pack(">H", len(encrypted)) + encrypted
        tls.sendall(
            _record(HANDSHAKE, _message(CLIENT_KEY_EXCHANGE, exchange))
            + _record(CHANGE_CIPHER_SPEC, b"\1")
            + _record(HANDSHAKE, b"\x5a" * 40)
        )
        answer = []
        try:
            while (record := _read_record(tls)) is not None:
                answer.append(record)
        except ConnectionResetError:
            pass  # it closed while our last record was unread
        return answer


@dataclass(frozen=True, slots=True)
class Exchange:
    envoy: EnvoyProcess
    setup: Setup
    ca: Path


@pytest.fixture(scope="module")
def exchange(
    ca: CertAuthority,
    server: Callable[[KeyType], Certificate],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Exchange]:
    folder = tmp_path_factory.mktemp("exchange")
    setup = Setup(folder / "stats")
    listeners = []
    for key in KEYS:
        for name, module in ((key, setup.module()), (f"stock-{key}", None)):
            tls = ServerTls(certificates=(server(key),), module=module, cipher_suites=(CIPHER,))
            listeners.append(Listener(name, (Chain(tls=tls),)))
    with running(Bootstrap(listeners=listeners), folder) as envoy:
        yield Exchange(envoy, setup, ca.cert)


def whole_handshake(exchange: Exchange, key: KeyType) -> None:
    with exchange.setup.signs(**{key: 1}):
        seen = s_client(exchange.envoy.address(key), exchange.ca, "-tls1_2", "-cipher", CIPHER)
    assert seen.ok, seen.text
    assert seen.cipher == CIPHER
    assert seen.signature is None  # nothing was signed: the operation was a decryption


@pytest.mark.parametrize("key", KEYS)
def test_rsa_key_exchange(exchange: Exchange, key: KeyType) -> None:
    for _ in range(3):
        whole_handshake(exchange, key)


def _raw(public: rsa.RSAPublicKey, number: int) -> bytes:
    return number.to_bytes(public.key_size // 8, "big")


def _encrypt(public: rsa.RSAPublicKey, premaster: bytes) -> bytes:
    return public.encrypt(premaster, padding.PKCS1v15())


def _unpadded(public: rsa.RSAPublicKey, block: bytes) -> bytes:
    numbers = public.public_numbers()
    return _raw(public, pow(int.from_bytes(block, "big"), numbers.e, numbers.n))


def _block(public: rsa.RSAPublicKey, start: bytes, end: bytes) -> bytes:
    return start + b"\x01" * (public.key_size // 8 - len(start) - len(end)) + end


GOOD = TLS12 + bytes(46)

#: What the client sends, and how many of it the module computes.
ATTACKS: dict[str, tuple[Callable[[rsa.RSAPublicKey], bytes], int]] = {
    "well-formed": (lambda public: _encrypt(public, GOOD), 1),
    "wrong version": (lambda public: _encrypt(public, b"\x03\x01" + bytes(46)), 1),
    "premaster too short": (lambda public: _encrypt(public, GOOD[:-1]), 1),
    "premaster too long": (lambda public: _encrypt(public, GOOD + b"\0"), 1),
    "premaster empty": (lambda public: _encrypt(public, b""), 1),
    "random": (lambda public: b"\0" + os.urandom(public.key_size // 8 - 1), 1),
    "block type 1": (lambda public: _unpadded(public, _block(public, b"\0\1", b"\0" + GOOD)), 1),
    "no zero": (lambda public: _unpadded(public, _block(public, b"\0\2", b"")), 1),
    "zero": (lambda public: _raw(public, 0), 1),
    "one": (lambda public: _raw(public, 1), 1),
    "modulus": (lambda public: _raw(public, public.public_numbers().n), 0),
    "above the modulus": (lambda public: b"\xff" * (public.key_size // 8), 0),
    "one byte short": (lambda public: os.urandom(public.key_size // 8 - 1), 0),
    "one byte long": (lambda public: b"\0" + _encrypt(public, GOOD), 0),
    "no bytes": (lambda _public: b"", 0),
}


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("key", KEYS)
def test_bad_premaster_secret(
    exchange: Exchange,
    server: Callable[[KeyType], Certificate],
    key: KeyType,
    attack: str,
) -> None:
    public = x509.load_pem_x509_certificate(server(key).cert.read_bytes()).public_key()
    assert isinstance(public, rsa.RSAPublicKey)
    make, computed = ATTACKS[attack]
    encrypted = make(public)
    stock = answer_to(exchange.envoy.address(f"stock-{key}"), encrypted)
    before = exchange.setup.read()
    assert answer_to(exchange.envoy.address(key), encrypted) == stock
    counted = exchange.setup.read() - before
    assert counted.signed(key) == counted.total("batched", "single") == computed
    assert counted.total("dropped") == 0
    whole_handshake(exchange, key)


def test_failures_look_alike(exchange: Exchange, server: Callable[[KeyType], Certificate]) -> None:
    """No difference between padding that is right and padding that is wrong (Bleichenbacher)."""
    public = x509.load_pem_x509_certificate(server("rsa2048").cert.read_bytes()).public_key()
    assert isinstance(public, rsa.RSAPublicKey)
    address = exchange.envoy.address("rsa2048")
    answers = {
        attack: answer_to(address, make(public))
        for attack, (make, computed) in ATTACKS.items()
        if computed
    }
    assert all(answer == answers["well-formed"] for answer in answers.values()), answers
    assert answers["well-formed"]
