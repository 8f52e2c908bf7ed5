"""A server on the loopback that sends whatever bytes it is told to: what no library for servers would send."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

Answer = Callable[[socket.socket], None]


def sending(*parts: bytes, pause: float = 0) -> Answer:
    """Return an answer that sends the parts, with a pause after each, and then ends the connection."""

    def answer(guest: socket.socket) -> None:
        for part in parts:
            guest.sendall(part)
            if pause:
                threading.Event().wait(pause)

    return answer


def endlessly(part: bytes, *, first: bytes = b"", pause: float = 0) -> Answer:
    """Return an answer that sends `part` again and again until the reader leaves."""

    def answer(guest: socket.socket) -> None:
        guest.sendall(first)
        while True:
            guest.sendall(part)
            if pause:
                threading.Event().wait(pause)

    return answer


def keep_silent(guest: socket.socket) -> None:
    """Accept, and say nothing until the reader leaves."""
    while guest.recv(1 << 16):
        pass


def reset(guest: socket.socket) -> None:
    """End the connection with an error instead of an end."""
    guest.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


@contextlib.contextmanager
def serving(answer: Callable[[bytes], Answer], *, wait_for_request: bool = True) -> Iterator[int]:
    """Serve on the loopback and give the port; `answer(request)` says what is done, each connection in a thread."""
    with contextlib.closing(socket.create_server(("127.0.0.1", 0), backlog=256)) as door:

        def serve(guest: socket.socket) -> None:
            with contextlib.suppress(OSError), guest:
                request = b""
                while wait_for_request and b"\r\n\r\n" not in request:
                    if not (part := guest.recv(1 << 16)):
                        return
                    request += part
                answer(request)(guest)

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    guest, _ = door.accept()
                    threading.Thread(target=serve, args=(guest,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield door.getsockname()[1]
        with contextlib.suppress(OSError):
            door.shutdown(socket.SHUT_RDWR)
