"""An HTTP server of pictures on the loopback that does everything a server should not do."""

from __future__ import annotations

import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

from support import shop

LAST = "Wed, 21 Oct 2015 07:28:00 GMT"


class Handler(BaseHTTPRequestHandler):
    """Answer as the path says; `server.requests` has the requests."""

    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        kept = ("command", "path", "headers", "client_address")
        self.server.requests.append(SimpleNamespace(**{name: getattr(self, name) for name in kept}))
        what, _, argument = self.path.split("?")[0].strip("/").partition("/")
        try:
            getattr(self, f"say_{what}")(argument)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content_Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def say_ok(self, argument: str) -> None:
        self.answer(200, f"bytes of {argument}".encode(), ETag='"v1"', Last_Modified=LAST)

    def say_picture(self, argument: str) -> None:
        self.answer(200, shop.picture(int(argument)), ETag=f'"{argument}"')

    def say_size(self, argument: str) -> None:
        self.answer(200, b"x" * int(argument), Last_Modified=LAST)

    def say_plain(self, _: str) -> None:
        self.answer(200, b"nothing known")

    def say_status(self, argument: str) -> None:
        status, _, again = argument.partition("/")
        self.answer(int(status), b"no", **({"Retry_After": again.replace("_", " ")} if again else {}))

    def say_once(self, argument: str) -> None:
        """Fail the first time, and send the picture the next time."""
        earlier = [one for one in self.server.requests if one.path == self.path]
        if len(earlier) > 1:
            return self.answer(200, b"at last")
        return getattr(self, f"say_{argument.partition('/')[0]}")(argument.partition("/")[2])

    def say_to(self, _: str) -> None:
        self.answer(302, Location=self.path.partition("?")[2].format(port=self.server.server_port))

    def say_hop(self, argument: str) -> None:
        self.answer(307, Location=f"/hop/{int(argument) - 1}" if argument != "0" else "/ok/end")

    def say_nowhere(self, _: str) -> None:
        self.answer(302)

    def say_reset(self, _: str) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.connection.close()
        self.close_connection = True

    def say_stall(self, _: str) -> None:
        self.server.stopped.wait(20)

    def say_garbage(self, _: str) -> None:
        self.wfile.write(b"\0\1\2 this is no HTTP\r\n\r\n")
        self.close_connection = True

    def say_less(self, _: str) -> None:
        """Promise more bytes than are sent."""
        self.answer(200, b"half", Content_Length="1000")
        self.close_connection = True

    def say_more(self, _: str) -> None:
        """Send more bytes than promised."""
        self.answer(200, b"wholeEXTRA", Content_Length="5")
        self.close_connection = True

    def say_length(self, argument: str) -> None:
        self.answer(200, b"x", Content_Length=argument)
        self.close_connection = True

    def say_drip(self, argument: str) -> None:
        """Send single bytes, slowly: of the body, of the headers, or of chunks."""
        starts = {
            "body": b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n",
            "headers": b"HTTP/1.1 200 OK\r\nX-Long: ",
            "status": b"",
            "chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        }
        self.wfile.write(starts[argument])
        while not self.server.stopped.wait(0.02):
            self.wfile.write(b"1" if argument != "chunk" else b"1\r\nx\r\n")

    def say_endless(self, _: str) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while not self.server.stopped.is_set():
            self.wfile.write(b"10000\r\n" + bytes(0x10000) + b"\r\n")

    def say_zipped(self, _: str) -> None:
        self.answer(200, b"as it came", Content_Encoding="gzip")

    def log_message(self, *_: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    """A server on the loopback that keeps the requests."""

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: list[Any] = []
        self.stopped = threading.Event()

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.server_port}/{path}"

    def handle_error(self, *_: object) -> None:
        pass
