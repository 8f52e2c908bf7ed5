"""OpenLineage events of a run, to a file and to a server."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from lookalike.sinks import openlineage
from lookalike.sinks.openlineage import Lineage
from lookalike.sinks.run_end import RunEnd
from support.published import FIRST, Shelf

START = datetime(2026, 1, 2, 3, tzinfo=UTC)


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    shelf = Shelf(tmp_path, {"openlineage": str(tmp_path / "events.jsonl")})
    shelf.put(FIRST)
    return shelf


def tell(shelf: Shelf, outcome: Any, exit_code: int, message: str = "", place: str | None = None) -> None:
    lineage = Lineage(shelf.settings, shelf.warehouse, place or shelf.publish["openlineage"])
    lineage.start_run()
    record = shelf.warehouse.need_current().record() if outcome == "published" else None
    lineage.end_run(RunEnd(outcome, exit_code, START, START + timedelta(hours=1), message), record)


def events(shelf: Shelf) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(shelf.publish["openlineage"]).read_text().splitlines()]


def test_run_that_published_names_what_it_read_and_wrote(shelf: Shelf) -> None:
    tell(shelf, "published", 0)
    start, complete = events(shelf)
    assert [start["eventType"], complete["eventType"]] == ["START", "COMPLETE"]
    assert start["run"]["runId"] == complete["run"]["runId"]
    assert start["run"]["facets"]["processing_engine"]["name"] == "spark"
    assert complete["job"] == {"namespace": "lookalike", "name": shelf.warehouse.name, "facets": {}}
    assert [(one["namespace"], one["name"]) for one in complete["inputs"]] == [
        ("file", str(shelf.folder / "catalogue.parquet"))
    ]
    outputs = {Path(one["name"]).name: one for one in complete["outputs"]}
    assert set(outputs) == {"similar_items", "embeddings", "failures"}
    similar = outputs["similar_items"]
    assert similar["name"] == f"{shelf.warehouse.path}/current/similar_items"
    assert similar["outputFacets"]["outputStatistics"]["rowCount"] == 3
    assert similar["facets"]["version"]["datasetVersion"] == FIRST
    assert similar["facets"]["schema"]["fields"][0]["name"] == "item_id"
    assert complete["run"]["facets"]["lookalike_release"]["releaseId"] == FIRST


@pytest.mark.parametrize(
    ("outcome", "exit_code", "state"),
    [("nothing_to_do", 0, "COMPLETE"), ("refused", 3, "FAIL"), ("failed", 1, "FAIL"), ("stopped", 143, "ABORT")],
)
def test_end_of_a_run_that_wrote_nothing(shelf: Shelf, outcome: str, exit_code: int, state: str) -> None:
    tell(shelf, outcome, exit_code, "gates.max_hub: REFUSED")
    end = events(shelf)[-1]
    assert (end["eventType"], end["outputs"]) == (state, [])
    message = end["run"]["facets"].get("errorMessage", {}).get("message")
    assert message == ("gates.max_hub: REFUSED" if exit_code else None)


def test_table_that_cannot_be_read_costs_the_outputs_alone(shelf: Shelf) -> None:
    (shelf.warehouse.need_current().similar_items / "part-0.parquet").write_bytes(b"no Parquet")
    tell(shelf, "published", 0)
    assert [(event["eventType"], event["outputs"]) for event in events(shelf)] == [("START", []), ("COMPLETE", [])]


@pytest.mark.parametrize(
    ("path", "named"),
    [("s3a://bucket/a/b", ("s3://bucket", "a/b")), ("shop.products", ("spark", "shop.products"))],
)
def test_catalogue_is_named_as_openlineage_names_it(shelf: Shelf, path: str, named: tuple[str, str]) -> None:
    shelf.sections["catalogue"] = {"path": path}
    tell(shelf, "nothing_to_do", 0)
    (one,) = events(shelf)[0]["inputs"]
    assert (one["namespace"], one["name"]) == named


class _Server(BaseHTTPRequestHandler):
    status = 200
    taken: list[tuple[str, str | None, dict[str, Any]]] = []  # noqa: RUF012 - of one test

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.taken.append((self.path, self.headers.get("Authorization"), json.loads(body)))
        self.send_response(self.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(_Server, "taken", [])
    found = HTTPServer(("127.0.0.1", 0), _Server)
    threading.Thread(target=found.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{found.server_port}"
    found.shutdown()
    found.server_close()


def test_server_gets_the_events_with_the_key_of_the_environment(
    shelf: Shelf, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENLINEAGE_API_KEY", "abc")
    tell(shelf, "published", 0, place=server)
    assert [(path, key, event["eventType"]) for path, key, event in _Server.taken] == [
        ("/api/v1/lineage", "Bearer abc", "START"),
        ("/api/v1/lineage", "Bearer abc", "COMPLETE"),
    ]


def test_server_that_answers_byte_by_byte_is_not_waited_for(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(openlineage, "_SECONDS", 0.5)
    ended = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=drip, args=(listening, ended), daemon=True).start()
        tell(shelf, "published", 0, place=f"http://127.0.0.1:{listening.getsockname()[1]}")
        assert not ended.is_set(), "the run waited for the whole answer"
    assert capsys.readouterr().err.count("(no answer after 0.5 s); the run goes on") == 2


def drip(listening: socket.socket, ended: threading.Event) -> None:
    """Answer one request with a byte each 0.1 s, for ten seconds."""
    connection, _ = listening.accept()
    with suppress(OSError), connection:
        for byte in b"HTTP/1.1 200 OK\r\nX: " + 80 * b"a":
            connection.sendall(bytes([byte]))
            time.sleep(0.1)
    ended.set()


def test_server_that_refuses_or_is_down_is_a_warning(
    shelf: Shelf, server: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(_Server, "status", 400)
    tell(shelf, "published", 0, place=server)
    tell(shelf, "published", 0, place="http://127.0.0.1:9")
    tell(shelf, "published", 0, place="http://127.0.0.1:99999999")
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(" (")[0].split("/")[-1].split(" ", 1)[1] for line in lines] == [
        "did not take START",
        "did not take COMPLETE",
    ] * 3
    assert all(line.endswith("; the run goes on") for line in lines)
