"""Where readings come from: Envoy's admin page `/multibuffer`, directly or through kubectl."""

from __future__ import annotations

import contextlib
import json
import re
import select
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import httpx2

from istio_kit.errors import InputError, KitError

_PAGE = "/multibuffer?format=json"
_TIMEOUT_SECONDS = 5.0
_FORWARD_SECONDS = 20.0
_ISTIO_ADMIN_PORT = 15000
_POD = re.compile(r"pod/(?P<pod>[a-z0-9.-]+?)(?:@(?P<namespace>[a-z0-9-]+))?(?::(?P<port>\d+))?")


@dataclass(frozen=True, slots=True)
class Source:
    """One proxy: the name that the user gave it, and its admin interface."""

    name: str
    client: httpx2.Client

    def read(self) -> dict[str, Any]:
        """Return the page.

        Raises:
            KitError: nothing answers, or the proxy does not have the page.
        """
        try:
            response = self.client.get(_PAGE)
        except httpx2.HTTPError as error:
            raise KitError(
                f"{self.name}: no answer from Envoy's admin interface: {error}; check the address"
            ) from error
        if response.status_code == httpx2.codes.NOT_FOUND:
            raise KitError(
                f"{self.name}: no page /multibuffer; add the bootstrap extension to this proxy"
            )
        try:
            page: dict[str, Any] = json.loads(response.raise_for_status().text)
        except (httpx2.HTTPStatusError, ValueError) as error:
            raise KitError(
                f"{self.name}: /multibuffer is not the module's page: {error}"
            ) from error
        return page


@contextmanager
def opened(targets: Sequence[str]) -> Iterator[list[Source]]:
    """Open all targets; ends every port-forward that it began.

    Raises:
        InputError: a target is neither a URL nor a pod.
        KitError: kubectl is missing or cannot forward.
    """
    with ExitStack() as stack:
        yield [_open(target, stack) for target in targets]


def _open(target: str, stack: ExitStack) -> Source:
    pod = _POD.fullmatch(target)
    if pod:
        port = int(pod["port"] or _ISTIO_ADMIN_PORT)
        url = stack.enter_context(_forward(target, pod["pod"], pod["namespace"], port))
    elif re.fullmatch(r"https?://\S+|[\w.-]+:\d+", target):
        url = target if "//" in target else f"http://{target}"
    else:
        raise InputError(
            f"{target}: neither an admin URL (http://127.0.0.1:15000) nor pod/NAME@NAMESPACE"
        )
    client = httpx2.Client(base_url=url, timeout=_TIMEOUT_SECONDS, trust_env=False)
    return Source(target, stack.enter_context(client))


@contextmanager
def _forward(target: str, pod: str, namespace: str | None, port: int) -> Iterator[str]:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        raise KitError(f"{target}: kubectl not found; install it, or give an admin URL")
    where = ["--namespace", namespace] if namespace else []
    process = subprocess.Popen(
        [kubectl, "port-forward", *where, f"pod/{pod}", f":{port}"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,  # Ctrl-C reaches only us, and we end it in good order
    )
    try:
        yield _forwarded(target, process)
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_TIMEOUT_SECONDS)
        process.kill()
        if process.stdout:
            process.stdout.close()
        process.wait()


def _forwarded(target: str, process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    deadline = time.monotonic() + _FORWARD_SECONDS
    line = ""
    while time.monotonic() < deadline:
        if not select.select([process.stdout], [], [], deadline - time.monotonic())[0]:
            break
        text = process.stdout.readline()
        if not text:
            break
        line = text.strip()
        found = re.search(r"Forwarding from 127\.0\.0\.1:(\d+)", line)
        if found:
            return f"http://127.0.0.1:{found[1]}"
    raise KitError(f"{target}: kubectl port-forward failed: {line or 'it said nothing'}")
