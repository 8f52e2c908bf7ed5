"""The web server of the site: it listens, answers each request in a thread, and ends at once."""

from __future__ import annotations

import os
import socket
import threading
from typing import Any

from threadpoolctl import threadpool_limits
from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

from lookalike import config
from lookalike.browse import kept_files
from lookalike.browse.app import Site
from lookalike.browse.pictures import Pictures
from lookalike.browse.security import Door
from lookalike.browse.shelf import Shelf
from lookalike.errors import LookalikeError, SiteError
from lookalike.progress import say
from lookalike.safe_text import one_line

_WAITING = 128  # connections that the system accepts before we do
_SECONDS = 30  # of silence after which a connection is closed


class Server:
    """A site that listens; `serve` answers until the process is told to end."""

    def __init__(self, settings: config.Settings, host: str, port: int, token: str | None) -> None:
        """Open the warehouse and listen; raise SiteError, WarehouseError."""
        door = Door.of(host, token)
        self._shelf = Shelf(settings)
        self._shelf.held(self._shelf.current_id)
        self._socket = _listen(host, port)
        pictures = Pictures(kept_files.KeptFiles(kept_files.folder()))
        self._site = Site(self._shelf, pictures, door, settings.report.title)
        self._server: BaseWSGIServer = make_server(
            host, port, self._site.app(), threaded=True, request_handler=_Quiet, fd=self._socket.fileno()
        )
        self.address = _address(host, self._socket.getsockname()[1], None if token else door.token)

    def serve(self) -> None:
        """Answer requests; KeyboardInterrupt ends it."""
        # A request has its thread, and a shard is too small for more: two took four times the processor's seconds.
        with threadpool_limits(1, "blas"):
            threading.Thread(target=self._prepare, daemon=True).start()
            try:
                self._server.serve_forever(poll_interval=0.2)
            finally:
                self._socket.close()

    def _prepare(self) -> None:
        for step in (self._site.prepare_views, self._site.prepare_questions):
            try:
                step()
            except (LookalikeError, OSError) as error:
                say(one_line(str(error)), level="warning")


class _Quiet(WSGIRequestHandler):
    """Writes no line for each request, and does not tell what it runs on."""

    timeout = _SECONDS
    server_version = "lookalike"
    sys_version = ""

    def version_string(self) -> str:
        return self.server_version

    def log(self, type: str, message: str, *args: Any) -> None:
        """Write nothing: what a stranger asks for is no line of ours."""


def _listen(host: str, port: int) -> socket.socket:
    place = f"{host}:{port}"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        opened = socket.socket(family, kind, protocol)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind(address)
        opened.listen(_WAITING)
    except (OSError, UnicodeError) as error:
        number = error.errno if isinstance(error, OSError) else None
        said = os.strerror(number) if number and number > 0 else error
        raise SiteError(f"cannot listen at {place} ({said}); choose another with --port or --host") from None
    return opened


def _address(host: str, port: int, token: str | None) -> str:
    wildcard = host in ("0.0.0.0", "::")  # noqa: S104 - compared, not listened at
    name = socket.gethostname() if wildcard else f"[{host}]" if ":" in host else host
    query = f"?token={token}" if token else ""
    return f"http://{name}:{port}/{query}"
