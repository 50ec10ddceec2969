"""A server that speaks S3's protocol, by moto: in this process, on a port of its own, in memory.

Between it and the client stands a gate that can lose requests and answers, or leave out what some
servers that imitate S3 leave out. S3 decides on writes of a name one after the other; moto alone
does not, so the gate lets one in at a time.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final, Literal

import pytest

REGION: Final = "us-east-1"
CHANGES: Final = ("PUT", "POST", "DELETE")
#: What becomes of a request: nobody sees it, or nobody sees that it was done.
Loss = Literal["request", "answer"]
Respond = Callable[..., Any]
_LOST: Final = b"<Error><Code>InternalError</Code><Message>lost</Message></Error>"


class Gate:
    """Passes requests on, a change at a time.

    Attributes:
        lose: says of each change, by method and path, what becomes of it; None: it passes.
        conditional: whether the server knows `If-None-Match`.
        telling: whether it says in its answer which condition has failed, as S3 does.
    """

    def __init__(self, served: Respond) -> None:
        self._served, self._lock = served, threading.Lock()
        self.clear()

    def clear(self) -> None:
        """Pass everything, as S3 does."""
        self.lose: Callable[[str, str], Loss | None] = lambda method, path: None
        self.conditional = self.telling = True

    def __call__(self, environ: dict[str, Any], respond: Respond) -> Iterable[bytes]:
        if not self.conditional:
            environ.pop("HTTP_IF_NONE_MATCH", None)
        method = environ["REQUEST_METHOD"]
        if method not in CHANGES:
            return self._served(environ, respond)  # type: ignore[no-any-return]
        with self._lock:
            lost = self.lose(method, environ["PATH_INFO"])
            if lost is None:
                return self._told(environ, respond)
            if lost == "answer":
                list(self._served(environ, lambda *arguments: None))
            else:
                environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        respond("500 Internal Server Error", [("Content-Length", str(len(_LOST)))])
        return [_LOST]

    def _told(self, environ: dict[str, Any], respond: Respond) -> list[bytes]:
        answered: list[Any] = []
        body = b"".join(self._served(environ, lambda *arguments: answered.extend(arguments)))
        status, headers = answered[0], dict(answered[1])
        if not self.telling and status.startswith("412"):
            body = body.replace(b"<Condition>If-None-Match</Condition>", b"")
        headers["Content-Length"] = str(len(body))
        respond(status, list(headers.items()))
        return [body]


class S3Server:
    """A running server.

    Attributes:
        url: its address.
        gate: in front of it.
    """

    def __init__(self, url: str, gate: Gate) -> None:
        self.url, self.gate = url, gate

    def bucket(self, name: str) -> str:
        """Make a bucket; return its address as of a store."""
        from s3fs import S3FileSystem

        S3FileSystem(use_listings_cache=False).mkdir(name)
        return f"s3://{name}"


@contextmanager
def s3_server(*, attempts: int = 1) -> Iterator[S3Server]:
    """Run a server; meanwhile clients of this process find it by their environment.

    Args:
        attempts: of a client for one request.
    """
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from s3fs import S3FileSystem
    from werkzeug.serving import make_server

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    gate = Gate(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, gate, threaded=True)
    thread = threading.Thread(target=server.serve_forever, name="s3", daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}"
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "AWS_ENDPOINT_URL_S3": url,
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": REGION,
            "AWS_MAX_ATTEMPTS": str(attempts),
            "AWS_RETRY_MODE": "standard",
            "NO_PROXY": "127.0.0.1",
        }.items():
            patch.setenv(name, value)
        patch.setattr(S3FileSystem, "retries", attempts)
        # Clients are kept by their arguments, and would know another server.
        S3FileSystem.clear_instance_cache()
        try:
            yield S3Server(url, gate)
        finally:
            S3FileSystem.clear_instance_cache()
            server.shutdown()
            server.server_close()
            thread.join()
