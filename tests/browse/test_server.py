"""The site as a process, and in a real browser: how it starts, what it looks like, and how it ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from lookalike import config
from lookalike.browse import security
from lookalike.browse.security import Door
from lookalike.cli.main import app
from lookalike.errors import SiteError
from support import browsed, browser
from support.browsed import FIRST, SECOND
from support.drawn import ROOT

SCREENSHOTS = ROOT / "build/screenshots"
COMMAND = "import sys; from lookalike.cli.main import app; sys.argv[0] = 'lookalike'; app()"


@pytest.fixture(scope="module")
def settings_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("browsed")
    settings: config.Settings = browsed.write(folder)
    file = folder / "shop.yaml"
    file.write_text(yaml.safe_dump(settings.model_dump(mode="json", include={"catalogue", "warehouse", "report"})))
    return file


@contextmanager
def serving(settings_file: Path, *words: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Start the command; yield it and the address that it prints."""
    command = [sys.executable, "-c", COMMAND, "browse", "--config", str(settings_file), "--port", "0", *words]
    environment = {**os.environ, "XDG_CACHE_HOME": str(settings_file.parent / "cache")}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        assert process.stdout
        yield process, process.stdout.readline().strip()
    finally:
        process.kill()
        process.communicate()


def test_site_is_looked_at_and_ends_at_ctrl_c(settings_file: Path) -> None:
    if reason := browser.why_not():
        pytest.skip(reason)
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    with serving(settings_file) as (process, address):
        with browser.browser() as opened:
            for view in (
                "",
                "item?id=a%3Fb%23c%252f%26d%3De%2Bf",
                "releases",
                f"changes?since={FIRST}",
                "worst",
                "failures",
            ):
                for width, scheme in ((1280, "light"), (360, "dark")):
                    page = opened.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)  # type: ignore[arg-type]
                    said: list[str] = []
                    page.on("console", lambda message, said=said: said.append(message.text))
                    page.goto(f"{address}r/{SECOND}/{view}")  # it waits for the pictures
                    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (view, width)
                    assert said == []
                    broken = "[...document.images].filter(one => !one.complete || !one.naturalWidth).length"
                    assert page.evaluate(broken) == 0, view
                    name = view.partition("?")[0] or "overview"
                    page.screenshot(path=SCREENSHOTS / f"browse-{name}-{width}-{scheme}.png", full_page=True)
                    page.close()
            page = opened.new_page()
            page.goto(address)
            page.keyboard.press("Tab")
            assert page.evaluate("document.activeElement.className") == "skip"
            page.get_by_label("Find an item").fill("red-1")
            page.keyboard.press("Enter")
            page.wait_for_url("**/item?id=red-1")
            assert page.get_by_role("heading", name="red-1").is_visible()
            assert page.get_by_role("list").get_by_role("link", name="why").count() == 1
        process.send_signal(signal.SIGINT)
        said_last = process.communicate(timeout=10)[1]
    assert process.returncode == 130
    assert "Traceback" not in said_last


def browse(settings_file: Path, *words: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["browse", "--config", str(settings_file), *words])
    return done.exit_code, done.stderr


def test_port_that_is_in_use_is_named(settings_file: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        code, said = browse(settings_file, "--port", str(port))
    wanted = (
        f"SiteError: cannot listen at 127.0.0.1:{port} (Address already in use); choose another with --port or --host\n"
    )
    assert (code, said) == (2, wanted)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--host", "no.such.host.invalid"), "cannot listen at no.such.host.invalid:"),
        (("--host", "a" * 300), "cannot listen at aaa"),
        (("--host", "203.0.113.7"), "cannot listen at 203.0.113.7:"),
        (("--token", "short"), "--token: give 16 ASCII characters"),
        (("--token", "é" * 20), "--token: give 16 ASCII characters"),
        (("--token", "0123456789abcdef "), "none of them blank"),  # a form would take it off
        (("--set", "warehouse.path=/no/such"), "holds no release yet"),
    ],
)
def test_wrong_arguments_are_one_line(settings_file: Path, words: tuple[str, ...], said: str) -> None:
    code, line = browse(settings_file, *words)
    assert code == 2
    assert said in line
    assert line.count("\n") == 1


def test_token_is_made_for_other_addresses_alone() -> None:
    assert Door.of("127.0.0.1", None).token is None
    assert Door.of("::1", None).token is None
    first, second = Door.of("0.0.0.0", None).token, Door.of("192.0.2.1", None).token
    assert first != second
    assert min(len(first or ""), len(second or "")) >= security.SHORTEST_TOKEN
    with pytest.raises(SiteError):
        Door.of("127.0.0.1", "")


def test_wildcard_answers_to_addresses_but_not_to_names_of_others() -> None:
    door = Door.of("0.0.0.0", None)
    assert door.answers_to("192.0.2.7:8765")
    assert door.answers_to(socket.gethostname())
    assert not door.answers_to("evil.example")
