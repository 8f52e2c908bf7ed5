"""A live server of Iceberg's REST specification: what PyIceberg asks for, over its SQL catalog; and one that hangs."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from pyiceberg.catalog.rest import CreateTableRequest, TableResponse
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import (
    CommitFailedException,
    NamespaceAlreadyExistsError,
    NoSuchNamespaceError,
    NoSuchTableError,
    TableAlreadyExistsError,
)
from pyiceberg.table import CommitTableRequest, CommitTableResponse, Table

TOKEN = "open sesame"

_STATUS: dict[type[Exception], int] = {
    NoSuchTableError: 404,
    NoSuchNamespaceError: 404,
    NamespaceAlreadyExistsError: 409,
    TableAlreadyExistsError: 409,
    CommitFailedException: 409,
}


class RestCatalog:
    """The server: where it is, the catalog behind it, and the requests that it got, such as `POST v1/namespaces`."""

    def __init__(self, folder: Path, *, hangs: bool = False) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._lock, self.hangs, self.requests = threading.Lock(), hangs, list[str]()
        self.over = threading.Event()
        self.catalog = SqlCatalog("behind", uri=f"sqlite:///{folder}/rest.db", warehouse=f"file://{folder}")
        self.uri = ""

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, str]:
        """Return the status and the JSON of an answer."""
        self.requests.append(f"{method} {path}")
        if self.hangs:
            self.over.wait()
        words = [unquote(word) for word in path.partition("?")[0].strip("/").split("/")][1:]
        try:
            with self._lock:  # SQLite takes one writer at a time
                return 200, self._found(method, words, body)
        except tuple(_STATUS) as error:
            problem = {"message": str(error), "type": type(error).__name__, "code": _STATUS[type(error)]}
            return _STATUS[type(error)], json.dumps({"error": problem})

    def _found(self, method: str, words: list[str], body: bytes) -> str:
        match method, *words:
            case "GET", "config":
                return json.dumps({"defaults": {}, "overrides": {}})
            case "POST", "namespaces":
                given = json.loads(body)
                self.catalog.create_namespace(tuple(given["namespace"]), given["properties"])
                return json.dumps(given)
            case "GET" | "HEAD", "namespaces", namespace:
                found = self.catalog.load_namespace_properties(namespace)
                return json.dumps({"namespace": [namespace], "properties": found})
            case "POST", "namespaces", namespace, "tables":
                made = CreateTableRequest.model_validate({"location": None, **json.loads(body)})
                name = (namespace, made.name)
                return _loaded(self.catalog.create_table(name, made.table_schema, properties=made.properties))
            case "GET" | "HEAD", "namespaces", namespace, "tables", table:
                return _loaded(self.catalog.load_table((namespace, table)))
            case "POST", "namespaces", namespace, "tables", table:
                wanted = CommitTableRequest.model_validate_json(body)
                current = self.catalog.load_table((namespace, table))
                changed = self.catalog.commit_table(current, wanted.requirements, wanted.updates)
                return CommitTableResponse.model_validate(changed).model_dump_json(by_alias=True)
            case _:
                raise NoSuchNamespaceError(f"no such request: {method} {words}")


def _loaded(table: Table) -> str:
    found = TableResponse(**{"metadata-location": table.metadata_location, "metadata": table.metadata, "config": {}})
    return found.model_dump_json(by_alias=True)


@contextmanager
def rest_catalog(folder: Path, *, hangs: bool = False) -> Iterator[RestCatalog]:
    """Serve a catalog whose tables are in a folder, to those who know the token."""
    found = RestCatalog(folder, hangs=hangs)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(found.answer))
    found.uri = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        found.over.set()
        server.shutdown()
        server.server_close()
        thread.join()
        found.catalog.close()


def _handler(answer: Callable[[str, str, bytes], tuple[int, str]]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, text = 401, json.dumps({"error": {"message": "who are you?", "type": "NotAuthorized", "code": 401}})
            if self.headers.get("Authorization") == f"Bearer {TOKEN}":
                status, text = answer(self.command, self.path, body)
            data = text.encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        do_GET = do_POST = do_HEAD = do_DELETE = _answer  # noqa: N815 - names of http.server

        def log_message(self, *_: Any) -> None:
            """Print nothing."""

    return Handler
