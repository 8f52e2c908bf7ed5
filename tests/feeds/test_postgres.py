"""`lookalike export --to postgresql://`: tables, the moment of the swap, what fails, and what it leaves."""

from __future__ import annotations

import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from lookalike.cli.main import app
from lookalike.feeds import pg_swap
from support import vector_releases
from support.pg_server import PASSWORD, Server
from support.vector_releases import vector

FIRST, SECOND = "20260101T020000Z-aaaaaa", "20260102T020000Z-bbbbbb"
HOSTILE = "tab\t quote\" 'apostrophe' back\\slash \\N \n line \r nul\0 日本 \u2028"
ITEMS = {f"item-{number:04}": number for number in range(250)} | {HOSTILE: 999}
LISTS = {one: [(other, 0.5) for other in list(ITEMS)[:2]] for one in ITEMS}
SHOWN = HOSTILE.replace("\0", "\u2400")


@pytest.fixture
def schema() -> str:
    """One for each test."""
    return f'test {secrets.token_hex(4)} "odd" ñ'


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    vector_releases.put(tmp_path / "warehouse", FIRST, ITEMS, LISTS, failed=["broken"])
    return vector_releases.settings_file(tmp_path)


def export(file: Path, server: Server, schema: str, *words: str, database: str = "shop") -> tuple[int, str]:
    to = ["--to", server.address(database), "--schema", schema]
    done = CliRunner().invoke(app, ["export", "--config", str(file), *to, *words])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert PASSWORD not in done.output
    return done.exit_code, done.output


def named(schema: str, table: str) -> str:
    return '"{}"."{}"'.format(schema.replace('"', '""'), table)


def test_tables_hold_what_the_release_does(
    pgvector: Server, shop: Path, schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("PGCLIENTENCODING", "latin1")
        code, said = export(shop, pgvector, schema, "--index")
    assert code == 0, said
    assert "NUL" in said
    rows = pgvector.rows(f"SELECT item_id, image_path, embedding::real[] FROM {named(schema, 'embeddings')} ORDER BY 1")
    assert [row[:2] for row in rows] == sorted(
        (one.replace("\0", "\u2400"), f"{one}.jpg".replace("\0", "\u2400")) for one in ITEMS
    )
    found = {row[0]: np.array(row[2], np.float32) for row in rows}
    for one, seed in ITEMS.items():
        assert np.array_equal(found[one.replace("\0", "\u2400")], vector(seed).astype(np.float16).astype(np.float32))
    lists = pgvector.rows(f"SELECT * FROM {named(schema, 'similar_items')} ORDER BY item_id, rank")
    assert len(lists) == 2 * len(ITEMS)
    assert (SHOWN, 2, "item-0001", 0.5) in lists
    assert pgvector.rows(f"SELECT item_id, reason FROM {named(schema, 'failures')}") == [("broken", "empty")]
    ((release, recall),) = pgvector.rows(
        f"SELECT release_id, record->'vectors'->>'recall' FROM {named(schema, 'export')}"
    )
    assert (release, float(recall)) == (FIRST, pytest.approx(1, abs=0.01))


def test_index_answers_by_cosine(pgvector: Server, shop: Path, schema: str) -> None:
    assert export(shop, pgvector, schema, "--index")[0] == 0
    table, wanted = named(schema, "embeddings"), vector(7).tolist()
    query = f"SELECT item_id FROM {table} ORDER BY embedding <=> '{wanted}'::halfvec LIMIT 1"
    with pgvector.connect() as connection:
        connection.execute("SET enable_seqscan = off")
        plan = connection.execute(f"EXPLAIN {query}".encode()).fetchall()
        assert "embeddings_hnsw" in str(plan)
        assert connection.execute(query.encode()).fetchall() == [("item-0007",)]


def test_query_of_the_page_asks_the_index(pgvector: Server, shop: Path, schema: str) -> None:
    assert export(shop, pgvector, schema, "--index")[0] == 0
    page = (Path(__file__).parents[2] / "docs/feeds.md").read_text(encoding="utf-8")
    query = page.partition("-- not tested: needs PostgreSQL with pgvector\n")[2].partition("```")[0]
    query = query.replace("lookalike.embeddings", named(schema, "embeddings"))
    with pgvector.connect() as connection:
        connection.execute("SET enable_seqscan = off")
        assert "embeddings_hnsw" in str(connection.execute(f"EXPLAIN {query}".encode()).fetchall())
        found = connection.execute(query.encode()).fetchall()
    others = {one: float(vector(1) @ vector(seed)) for one, seed in ITEMS.items() if one != "item-0001"}
    nearest = sorted(others, key=lambda one: -others[one])[:10]
    assert [one for one, _ in found] == nearest
    assert [score for _, score in found] == pytest.approx([others[one] for one in nearest], abs=1e-3)


def test_kept_columns_keep_their_types(pgvector: Server, tmp_path: Path, schema: str) -> None:
    kept = {
        'Odd "name" %s {} \t': pa.array(["x", None, ""]),
        "price": pa.array([Decimal("12.50"), None, Decimal("-0.01")]),
        "flag": pa.array([True, False, None]),
        "small": pa.array([1, -2, None], pa.int8()),
        "number": pa.array([2**31 - 1, None, -1], pa.int32()),
        "large": pa.array([2**62, -1, None]),
        "ratio": pa.array([0.1, float("nan"), None]),
        "day": pa.array([date(1970, 1, 1), date(1, 1, 1), None]),
        "moment": pa.array(
            [datetime(2026, 1, 2, 3, 4, 5, 6, UTC), None, datetime(1, 1, 1, tzinfo=UTC)], pa.timestamp("us", "UTC")
        ),
        "local": pa.array([1_767_312_000_000_000, None, 253_402_214_400_000_000], pa.timestamp("us")),
        "raw": pa.array([b"\0\1", None, b""]),
        "exact": pa.array([Decimal(10**37), Decimal(1 - 10**38), Decimal(0)], pa.decimal128(38, 0)),
        "tiny": pa.array([Decimal("1e-38"), None, Decimal("-0.5")], pa.decimal128(38, 38)),
        "tags": pa.array([["a", None, "nul\0", "\\u0000"], [], None]),
        "sizes": pa.array([[("S", 1), ("nul\0", None)], [], None], pa.map_(pa.string(), pa.int64())),
        "maker": pa.array([{"name": '"', "since": float("nan")}, {"name": None, "since": 1.5}, None]),
        "none": pa.nulls(3),
    }
    vector_releases.put(tmp_path / "warehouse", FIRST, {"a": 1, "b": 2, "c": 3}, {}, kept)
    code, said = export(vector_releases.settings_file(tmp_path), pgvector, schema)
    assert code == 0, said
    with pgvector.connect() as connection:
        connection.execute("SET timezone = 'UTC'")
        columns = ", ".join('"{}"'.format(one.replace('"', '""').replace("%", "%%")) for one in kept)
        query = f"SELECT {columns} FROM {named(schema, 'embeddings')} ORDER BY item_id"
        rows = connection.execute(query.encode(), ()).fetchall()
    expected = {name: values.to_pylist() for name, values in kept.items()}
    expected["tags"] = [["a", None, "nul\u2400", "\\u0000"], [], None]
    expected["sizes"] = [{"S": 1, "nul\u2400": None}, {}, None]
    expected["maker"][0]["since"] = None
    for at, (name, values) in enumerate(expected.items()):
        found = [row[at] for row in rows]
        assert str(found) == str(values) if name == "ratio" else found == values, name


@pytest.mark.parametrize("place", ["pgvector", "debian"])
def test_plain_arrays_need_no_pgvector(place: str, shop: Path, schema: str, request: pytest.FixtureRequest) -> None:
    server: Server = request.getfixturevalue(place)
    code, said = export(shop, server, schema, "--arrays")
    assert code == 0, said
    rows = server.rows(f"SELECT item_id, embedding FROM {named(schema, 'embeddings')}")
    found = {one: np.array(numbers, np.float32) for one, numbers in rows}
    assert all(np.array_equal(found[one.replace("\0", "\u2400")], vector(seed)) for one, seed in ITEMS.items())


def test_without_pgvector_the_line_says_what_to_do(pgvector: Server, debian: Server, shop: Path, schema: str) -> None:
    for server, database, todo in ((pgvector, "plain", "run CREATE EXTENSION"), (debian, "shop", "install pgvector")):
        code, said = export(shop, server, schema, database=database)
        assert (code, todo in said, "--arrays" in said) == (1, True, True), said
        found = f"SELECT nspname FROM pg_namespace WHERE nspname = '{schema}'"
        assert server.rows(found, database) == []


def test_fewer_dimensions_come_with_their_projection(pgvector: Server, shop: Path, schema: str) -> None:
    assert export(shop, pgvector, schema, "--dimensions", "12")[0] == 0
    weights = pgvector.rows(f"SELECT weights FROM {named(schema, 'projection')} ORDER BY direction")
    reduced = np.array([row[0] for row in weights], np.float32) @ vector(3)
    ((stored,),) = pgvector.rows(
        f"SELECT embedding::real[] FROM {named(schema, 'embeddings')} WHERE item_id = 'item-0003'"
    )
    assert np.allclose(stored, reduced / np.linalg.norm(reduced), atol=1e-3)


@pytest.mark.parametrize("items", [{}, {"only": 5}], ids=["none", "one"])
@pytest.mark.parametrize("words", [["--index"], ["--arrays"]], ids=["pgvector", "arrays"])
def test_release_of_few_items(
    pgvector: Server, tmp_path: Path, schema: str, items: dict[str, int], words: list[str]
) -> None:
    vector_releases.put(tmp_path / "warehouse", FIRST, items)
    code, said = export(vector_releases.settings_file(tmp_path), pgvector, schema, *words)
    assert code == 0, said
    assert pgvector.rows(f"SELECT item_id FROM {named(schema, 'embeddings')}") == [(one,) for one in items]


# ---- the swap


def two_releases(folder: Path) -> Path:
    """The score of each list tells the release, and so does the path of each item."""
    for release, score in ((FIRST, 0.25), (SECOND, 0.75)):
        items = {f"item-{number}": number for number in range(300)}
        lists = {one: [("item-0", score)] for one in items}
        marks = {"mark": pa.array([score] * len(items)), "price": pa.array([Decimal("12.50")] * len(items))}
        vector_releases.put(folder / "warehouse", release, items, lists, marks)
    return vector_releases.settings_file(folder)


def test_readers_see_one_release_or_the_other(
    pgvector: Server, tmp_path: Path, schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pg_swap, "_PAUSE_SECONDS", 0.05)
    file = two_releases(tmp_path)
    assert export(file, pgvector, schema)[0] == 0
    seen: list[tuple[object, ...]] = []
    stop = threading.Event()
    query = (
        f"SELECT count(*), count(DISTINCT mark), bool_and(mark = score), min(mark) FROM {named(schema, 'embeddings')} "
        f"JOIN {named(schema, 'similar_items')} USING (item_id)"
    )

    def read(level: psycopg.IsolationLevel, first: str) -> None:
        with pgvector.connect(autocommit=False) as connection:
            connection.isolation_level = level
            while not stop.is_set():
                if first:
                    connection.execute(first.encode())
                seen.extend(connection.execute(query.encode()).fetchall())
                connection.commit()

    levels = psycopg.IsolationLevel
    one_table = f"SELECT count(*) FROM {named(schema, 'similar_items')}"
    ways = [(levels.READ_COMMITTED, ""), (levels.REPEATABLE_READ, "SELECT 1"), (levels.READ_COMMITTED, one_table)]
    threads = [threading.Thread(target=read, args=way) for way in ways]
    for thread in threads:
        thread.start()
    try:
        for release in (FIRST, SECOND) * 2:
            code, said = export(file, pgvector, schema, "--release", release)
            assert code == 0, said
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert {row[:3] for row in seen} == {(300, 1, True)}
    assert {row[3] for row in seen} == {0.25, 0.75}


def test_grants_owner_and_views_are_kept(pgvector: Server, shop: Path, schema: str) -> None:
    assert export(shop, pgvector, schema)[0] == 0
    table, view, outer = (named(schema, one) for one in ("embeddings", "of %s {} 'x'", "outer"))
    pgvector.do("DROP ROLE IF EXISTS analyst; CREATE ROLE analyst LOGIN PASSWORD '" + PASSWORD + "'", user="admin")
    pgvector.do(f"GRANT USAGE ON SCHEMA {schema_name(schema)} TO analyst")
    pgvector.do(f"GRANT SELECT ON {table} TO analyst")
    pgvector.do(f"CREATE VIEW {view} WITH (security_barrier) AS SELECT item_id, '%s {{}}' AS x FROM {table}")
    pgvector.do(f"CREATE VIEW {outer} AS SELECT count(*) FROM {view} JOIN {table} USING (item_id)")
    pgvector.do(f"GRANT SELECT ON {outer} TO PUBLIC")
    pgvector.do(f"COMMENT ON VIEW {outer} IS 'of ours'")
    code, said = export(shop, pgvector, schema)
    assert code == 0, said
    assert pgvector.rows(f"SELECT * FROM {outer}", user="analyst") == [(251,)]
    assert pgvector.rows(f"SELECT count(*) FROM {table}", user="analyst") == [(251,)]
    options = f"SELECT reloptions FROM pg_class WHERE oid = '{view.replace(chr(39), 2 * chr(39))}'::regclass"
    assert pgvector.rows(options) == [(["security_barrier=true"],)]
    comment = f"SELECT obj_description('{outer.replace(chr(39), 2 * chr(39))}'::regclass)"
    assert pgvector.rows(comment) == [("of ours",)]


def schema_name(schema: str) -> str:
    return '"{}"'.format(schema.replace('"', '""'))


def test_view_that_the_new_tables_do_not_fit_stops_it(pgvector: Server, tmp_path: Path, schema: str) -> None:
    file = two_releases(tmp_path)
    assert export(file, pgvector, schema)[0] == 0
    pgvector.do(f"CREATE VIEW {named(schema, 'marks')} AS SELECT mark FROM {named(schema, 'embeddings')}")
    vector_releases.put(tmp_path / "warehouse", "20260103T020000Z-cccccc", {"a": 1})
    code, said = export(file, pgvector, schema)
    assert (code, "marks" in said) == (1, True), said
    assert pgvector.rows(f"SELECT count(*) FROM {named(schema, 'marks')}") == [(300,)]


@pytest.mark.parametrize(
    "made", ["MATERIALIZED VIEW x AS SELECT count(*) FROM {}", "TABLE x (item_id text REFERENCES {})"]
)
def test_what_cannot_be_made_again_stops_it(pgvector: Server, shop: Path, schema: str, made: str) -> None:
    assert export(shop, pgvector, schema)[0] == 0
    kind, _, rest = made.partition(" x ")
    pgvector.do(f"CREATE {kind} {named(schema, 'x')} {rest.format(named(schema, 'embeddings'))}")
    code, said = export(shop, pgvector, schema)
    assert (code, "again" in said) == (1, True), said
    assert pgvector.rows(f"SELECT count(*) FROM {named(schema, 'embeddings')}") == [(251,)]


def test_what_depends_on_the_tables_is_named(pgvector: Server, shop: Path, schema: str) -> None:
    assert export(shop, pgvector, schema)[0] == 0
    pgvector.do(f"CREATE TABLE {named(schema, 'user of it')} (item {named(schema, 'embeddings')})")
    code, said = export(shop, pgvector, schema)
    assert (code, "user of it" in said) == (1, True), said


def test_table_of_somebody_else_is_not_replaced(pgvector: Server, shop: Path, schema: str) -> None:
    pgvector.do(f"CREATE SCHEMA {schema_name(schema)}")
    pgvector.do(f"CREATE TABLE {named(schema, 'failures')} AS SELECT 1 AS mine")
    code, said = export(shop, pgvector, schema)
    assert (code, "--schema" in said) == (1, True), said
    assert pgvector.rows(f"SELECT mine FROM {named(schema, 'failures')}") == [(1,)]


def test_readers_that_stay_are_waited_for_and_then_named(
    pgvector: Server, shop: Path, schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert export(shop, pgvector, schema)[0] == 0
    monkeypatch.setattr(pg_swap, "_WAIT_SECONDS", 0.1)
    monkeypatch.setattr(pg_swap, "_PAUSE_SECONDS", 0.01)
    with pgvector.connect(autocommit=False) as reader:
        reader.execute(f"SELECT 1 FROM {named(schema, 'similar_items')}".encode())
        code, said = export(shop, pgvector, schema)
        assert (code, "pg_stat_activity" in said) == (1, True), said
        assert pgvector.rows(f"SELECT count(*) FROM {named(schema, 'embeddings')}") == [(251,)]
    assert export(shop, pgvector, schema)[0] == 0


def test_readers_of_a_view_do_not_end_the_swap(
    pgvector: Server, shop: Path, schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One holds the table when the swap asks for it, and one comes then and reads a view over the table."""
    assert export(shop, pgvector, schema)[0] == 0
    view = named(schema, "view")
    pgvector.do(f"CREATE VIEW {view} AS SELECT item_id FROM {named(schema, 'embeddings')}")
    monkeypatch.setattr(pg_swap, "_LOCK_MILLISECONDS", 10_000)
    with ThreadPoolExecutor() as threads, pgvector.connect(autocommit=False) as reader:
        reader.execute(f"SELECT 1 FROM {named(schema, 'embeddings')}".encode())

        def read_view() -> list[tuple[Any, ...]]:
            wait_for_waiting(pgvector, 1)
            count = threads.submit(pgvector.rows, f"SELECT count(*) FROM {view}")
            wait_for_waiting(pgvector, 2)
            reader.commit()
            return count.result()

        read = threads.submit(read_view)
        code, said = export(shop, pgvector, schema)
        assert code == 0, said
        assert read.result() == [(251,)]


def wait_for_waiting(server: Server, sessions: int) -> None:
    waiting = "SELECT count(DISTINCT pid) FROM pg_locks WHERE NOT granted"
    for _ in range(600):
        if server.rows(waiting) == [(sessions,)]:
            return
        time.sleep(0.05)
    raise AssertionError("nobody waits")


def test_what_was_granted_during_the_export_is_kept(
    pgvector: Server, shop: Path, schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert export(shop, pgvector, schema)[0] == 0
    table = named(schema, "similar_items")
    swap = pg_swap.swap

    def grant_and_swap(*place: Any) -> None:
        pgvector.do(f"GRANT SELECT ON {table} TO PUBLIC")
        swap(*place)

    monkeypatch.setattr(pg_swap, "swap", grant_and_swap)
    assert export(shop, pgvector, schema)[0] == 0
    assert "=r/owner" in str(pgvector.rows(f"SELECT relacl FROM pg_class WHERE oid = '{table}'::regclass"))


def test_table_that_a_view_joins_is_free_while_the_export_copies(
    pgvector: Server, shop: Path, schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert export(shop, pgvector, schema)[0] == 0
    prices, swap = named(schema, "prices"), pg_swap.swap
    pgvector.do(f"CREATE TABLE {prices} (item_id text)")
    pgvector.do(
        f"CREATE VIEW {named(schema, 'v')} AS SELECT * FROM {named(schema, 'embeddings')} JOIN {prices} USING (item_id)"
    )

    def empty_and_swap(*place: Any) -> None:
        pgvector.do(f"SET lock_timeout TO '1s'; TRUNCATE {prices}")
        swap(*place)

    monkeypatch.setattr(pg_swap, "swap", empty_and_swap)
    code, said = export(shop, pgvector, schema)
    assert code == 0, said


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("ALTER TABLE {} OWNER TO admin", "belongs to admin"),
        ("ALTER TABLE {} ENABLE ROW LEVEL SECURITY", "row security"),
    ],
)
def test_table_that_may_not_be_replaced_is_named_before_the_copy(
    pgvector: Server, shop: Path, schema: str, change: str, said: str
) -> None:
    assert export(shop, pgvector, schema)[0] == 0
    pgvector.do(change.format(named(schema, "failures")), user="admin")
    code, text = export(shop, pgvector, schema)
    assert (code, said in text, "embeddings:" in text) == (1, True, False), text


def test_second_export_at_the_same_time_is_refused(pgvector: Server, shop: Path, schema: str) -> None:
    with pgvector.connect(autocommit=False) as other:
        other.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (f"lookalike export {schema}",))
        code, said = export(shop, pgvector, schema)
    assert (code, "another export" in said) == (1, True), said
    assert export(shop, pgvector, schema)[0] == 0


# ---- what fails


@pytest.fixture
def slow(shop: Path, pgvector: Server, schema: str) -> Iterator[subprocess.Popen[str]]:
    """A second export that waits for a reader, all its tables made."""
    assert export(shop, pgvector, schema)[0] == 0
    words = ["export", "--config", str(shop), "--to", pgvector.address(), "--schema", schema]
    code = "from lookalike.cli.main import app; app()"
    with (
        pgvector.connect(autocommit=False) as reader,
        subprocess.Popen([sys.executable, "-c", code, *words], stderr=subprocess.PIPE, text=True) as process,
    ):
        reader.execute(f"SELECT 1 FROM {named(schema, 'similar_items')}".encode())
        assert process.stderr is not None
        assert any("waiting for" in line for line in process.stderr)
        yield process
        process.kill()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_export_that_is_stopped_leaves_the_old_tables_alone(
    slow: subprocess.Popen[str], pgvector: Server, shop: Path, schema: str, number: int
) -> None:
    slow.send_signal(number)
    assert slow.wait() == (-number if number == signal.SIGKILL else 128 + number)
    tables = (
        f"SELECT relname FROM pg_class WHERE relnamespace = '{schema_name(schema)}'::regnamespace AND relkind = 'r'"
    )
    for _ in range(100):
        if len(pgvector.rows("SELECT 1 FROM pg_stat_activity WHERE application_name = 'lookalike export'")) == 0:
            break
        time.sleep(0.05)
    assert {row[0] for row in pgvector.rows(tables)} == set(pg_swap.TABLES)
    assert pgvector.rows(f"SELECT count(*) FROM {named(schema, 'embeddings')}") == [(251,)]


def test_server_that_ends_the_connection_is_named(slow: subprocess.Popen[str], pgvector: Server, schema: str) -> None:
    ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'lookalike export'"
    pgvector.do(ended, user="admin")
    assert slow.wait() == 1
    assert slow.stderr is not None
    assert "ExportError: the server refused" in slow.stderr.read()
    assert pgvector.rows(f"SELECT count(*) FROM {named(schema, 'embeddings')}") == [(251,)]


@pytest.mark.parametrize(
    ("address", "password", "said"),
    [
        ("postgresql://owner@127.0.0.1:1/shop", PASSWORD, "start the server"),
        ("postgresql://owner@127.0.0.1:{port}/shop", "wrong", "PGPASSWORD"),
        ("postgresql://owner:wrong@127.0.0.1:{port}/shop", "", "PGPASSWORD"),
        ("postgresql://owner@127.0.0.1:{port}/none", PASSWORD, "does not exist"),
        ("postgresql://owner@127.0.0.1:{port}/shop?sslmode=require", PASSWORD, "correct sslmode"),
        ("postgresql://owner:a@wrong@127.0.0.1:{port}/shop", "", "failed to resolve host '…'"),
    ],
)
def test_server_that_lets_nobody_in_is_named(
    pgvector: Server, shop: Path, monkeypatch: pytest.MonkeyPatch, address: str, password: str, said: str
) -> None:
    monkeypatch.setenv("PGPASSWORD", password)
    words = ["export", "--config", str(shop), "--to", address.format(port=pgvector.port)]
    done = CliRunner().invoke(app, words)
    assert (done.exit_code, said in done.output, "ExportError" in done.output) == (1, True, True), done.output
    assert "wrong" not in done.output


@pytest.mark.parametrize(
    "place", ["owner:s3cret%zz@127.0.0.1/shop", "owner:s3 cret@127.0.0.1/shop", "127.0.0.1/shop?password=s3cret%zz"]
)
def test_password_that_no_address_can_hold_is_not_shown(shop: Path, place: str) -> None:
    words = ["export", "--config", str(shop), "--to", f"postgresql://{place}"]
    done = CliRunner().invoke(app, words)
    assert (done.exit_code, "s3" in done.output, "%25 for %" in done.output) == (2, False, True), done.output


def test_replica_is_named(pgvector: Server, shop: Path, schema: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGOPTIONS", "-c default_transaction_read_only=on")
    code, said = export(shop, pgvector, schema)
    assert (code, "primary" in said) == (1, True), said


def test_address_by_the_environment(pgvector: Server, shop: Path, schema: str, monkeypatch: pytest.MonkeyPatch) -> None:
    known = {"PGHOST": "127.0.0.1", "PGPORT": str(pgvector.port), "PGUSER": "owner", "PGDATABASE": "shop"}
    for name, value in known.items():
        monkeypatch.setenv(name, value)
    words = ["export", "--config", str(shop), "--to", "postgresql://", "--schema", schema]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output


def test_no_right_to_make_a_schema_is_named(pgvector: Server, shop: Path, schema: str) -> None:
    code, said = export(shop, pgvector, schema, "--arrays", database="postgres")
    assert (code, "permission denied" in said, "grant" in said) == (1, True, True), said


def test_full_disk_of_the_server_is_named(
    pgvector: Server, shop: Path, schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pg_swap, "look", full_disk)
    code, said = export(shop, pgvector, schema)
    assert (code, "free space on the server" in said) == (1, True), said


def full_disk(*_: object) -> None:
    raise psycopg.errors.DiskFull("could not extend file: No space left on device")


def test_ids_that_nul_alone_tells_apart_are_named(pgvector: Server, tmp_path: Path, schema: str) -> None:
    vector_releases.put(tmp_path / "warehouse", FIRST, {"a\0": 1, "a\u2400": 2})
    code, said = export(vector_releases.settings_file(tmp_path), pgvector, schema)
    assert (code, "NUL" in said) == (1, True), said
