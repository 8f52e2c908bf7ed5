"""The site for a web server: from a request to a page, a picture or a refusal."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from flask import Flask, Response, redirect, request
from markupsafe import Markup, escape
from werkzeug.exceptions import HTTPException, NotFound

from lookalike.browse import security
from lookalike.browse.held import HeldRelease
from lookalike.browse.links import Links
from lookalike.browse.pictures import MOST_UPLOADED, SIDES, Pictures
from lookalike.browse.security import Door
from lookalike.browse.shelf import ReleaseGoneError, Shelf
from lookalike.browse.views import View, Views
from lookalike.errors import LookalikeError, QueryError, ReleaseRemovedError, UnknownItemError
from lookalike.pages import templates
from lookalike.redaction import redacted
from lookalike.safe_text import one_line

_COOKIE = "lookalike"
_FORM = 1 << 20  # bytes of a form besides its picture

# The drawing in place of a picture that cannot be shown; the reason is one of a closed list.
_NO_PICTURE = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 224 224" width="224" height="224"
font-family="sans-serif" text-anchor="middle" fill="#7c8896"><text x="112" y="106" font-size="20">no picture</text>
<text x="112" y="136" font-size="17">{}</text></svg>"""


class Site:
    """The pages over one warehouse, as handlers of requests."""

    def __init__(self, shelf: Shelf, pictures: Pictures, door: Door, title: str = "") -> None:
        self._shelf, self._pictures, self._door, self._title = shelf, pictures, door, title
        self._views = Views(shelf, pictures)
        self._templates = templates.environment("lookalike.browse")
        self._templates.filters["raw"] = _raw
        self._styles = self._templates.get_template("browse.css").render(before=True, neighbours=6)

    def app(self) -> Flask:
        """Return the application."""
        app = Flask("lookalike.browse", static_folder=None)
        app.config["MAX_CONTENT_LENGTH"] = MOST_UPLOADED + _FORM
        app.before_request(self._guard)
        app.after_request(_with_headers)
        app.add_url_rule("/", "start", self._start)
        app.add_url_rule("/favicon.ico", "icon", lambda: Response(status=204))
        app.add_url_rule("/styles.css", "styles", self._stylesheet)
        app.add_url_rule("/enter", "enter", self._enter, methods=["POST"])
        app.add_url_rule("/asked/<key>", "asked", self._asked)
        app.add_url_rule("/r/<release_id>/search", "search", self._search, methods=["POST"])
        app.add_url_rule("/r/<release_id>/report", "report", self._report)
        for side in SIDES:
            app.add_url_rule(f"/r/<release_id>/{side}", side, self._picture, defaults={"side": side})
        for name in self._views.by_name:
            app.add_url_rule(f"/r/<release_id>/{name}", f"view {name}", self._page, defaults={"name": name})
        app.register_error_handler(Exception, self._refused)
        return app

    def prepare_views(self) -> None:
        """Do what the first visitor of a view would wait for; raise LookalikeError."""
        self._views.prepare(self._shelf.held(self._shelf.current_id))

    def prepare_questions(self) -> None:
        """Do what the first who asks why, or searches by a picture, would wait for; raise LookalikeError."""
        held = self._shelf.held(self._shelf.current_id)
        self._shelf.fetch_models()
        held.prepare()

    # ---- who may ask

    def _guard(self) -> Response | None:
        """Refuse a request that is meant for another site, or has no token; None lets it pass."""
        if not self._door.answers_to(request.host):
            return _plain("this site does not answer to that name; ask it by its address", 421)
        given = request.args.get("token")
        if given is not None and request.method == "GET" and self._door.opens_for(given):
            kept = {name: value for name, value in request.args.items() if name != "token"}
            return self._admit(f"{quote(request.path)}{_query(kept)}")
        if self._door.opens_for(request.cookies.get(_COOKIE)) or request.endpoint in ("enter", "icon", "styles"):
            return None
        return self._filled("token.html", "Token", {"to": _target()}, 401)

    def _enter(self) -> Response:
        """Take the token of the form."""
        if not self._door.opens_for(request.form.get("token", "").strip()):
            return self._filled("token.html", "Token", {"to": _local(request.form.get("to", "")), "wrong": True}, 401)
        return self._admit(_local(request.form.get("to", "")))

    def _admit(self, to: str) -> Response:
        answer = _moved(to)
        if self._door.token is not None:
            answer.set_cookie(_COOKIE, self._door.token, httponly=True, samesite="Lax")
        return answer

    # ---- pages

    def _start(self) -> Response:
        return _moved(Links(self._shelf.current_id).to(), 302)

    def _page(self, release_id: str, name: str) -> Response:
        held = self._held(release_id)
        arguments = request.args.to_dict()
        question = arguments.get("q", "")
        if name == "find" and question and held.items.row(question) is not None and "page" not in arguments:
            return _moved(Links(release_id).item(question), 302)
        return self._shown(self._views.by_name[name](held, arguments), held)

    def _shown(self, view: View, held: HeldRelease) -> Response:
        return self._filled(view.template, view.title, {**self._here(held), **view.shown}, view.status)

    def _here(self, held: HeldRelease) -> dict[str, Any]:
        """Return what each page of a release shows besides its view."""
        current, name = self._shelf.current_id, request.path.split("/", 3)[3]
        return {
            "release": held.record,
            "refused": held.refused,
            "to": Links(held.release_id).to,
            "current": None if current == held.release_id else current,
            "there": f"/r/{quote(current)}/{name}{_query(request.args.to_dict())}" if request.method == "GET" else "/",
            "view": name,
            "report": held.folder.report.is_file(),
        }

    def _search(self, release_id: str) -> Response:
        """Take a picture, and lead to the items like it."""
        held = self._held(release_id)
        given = request.files.get("picture")
        key = self._pictures.take(held, given.read() if given else b"")
        return _moved(Links(release_id).to("like", picture=key, group=request.form.get("group", "")))

    def _report(self, release_id: str) -> Response:
        report = self._held(release_id).folder.report
        if not report.is_file():
            raise NotFound
        answer = Response(report.read_bytes(), mimetype="text/html")
        answer.headers["Content-Security-Policy"] = security.REPORT_POLICY
        return answer

    # ---- files

    def _picture(self, release_id: str, side: str) -> Response:
        held = self._held(release_id)
        row = held.items.row(request.args.get("id", ""))
        if row is None:
            return _plain("no such item", 404)
        found = self._pictures.of_item(held, row, side)
        if isinstance(found, bytes):
            return _kept(Response(found, mimetype="image/jpeg"))
        reason = found.partition(":")[0]
        return Response(_NO_PICTURE.format(reason if reason.isidentifier() else ""), mimetype="image/svg+xml")

    def _asked(self, key: str) -> Response:
        found = self._pictures.asked(key)
        return _plain("not kept any more", 404) if found is None else _kept(Response(found, mimetype="image/jpeg"))

    def _stylesheet(self) -> Response:
        return Response(self._styles, mimetype="text/css", headers={"Cache-Control": "max-age=300"})

    # ---- what goes wrong

    def _held(self, release_id: str) -> HeldRelease:
        held = self._shelf.held(release_id)
        if not held.is_there:
            raise ReleaseGoneError(f"release {release_id} was removed from the warehouse")
        return held

    def _refused(self, error: Exception) -> Response:
        """Return the page that says what went wrong; a defect of ours is raised, and logged."""
        if isinstance(error, HTTPException):
            status, said = error.code or 500, _HTTP.get(error.code or 500, error.name)
        elif isinstance(error, LookalikeError | OSError):
            status = next((code for kind, code in _STATUS if isinstance(error, kind)), 500)
            said = str(error) if isinstance(error, LookalikeError) else one_line(redacted(str(error)))
        else:
            raise error
        held = self._shelf.in_memory((request.view_args or {}).get("release_id", "")) if status != 410 else None
        here = self._here(held) if held is not None else {}
        return self._filled("problem.html", "Not shown", {**here, "message": said, "gone": status == 410}, status)

    def _filled(self, template: str, title: str, shown: dict[str, Any], status: int) -> Response:
        names: dict[str, Any] = {"shop": self._title, "title": title, "release": None, "current": None, "view": ""}
        text = self._templates.get_template(template).render({**names, **shown})
        return Response(text, status, mimetype="text/html", headers={"Cache-Control": "no-cache"})


_STATUS: tuple[tuple[type[Exception], int], ...] = (
    (ReleaseGoneError, 410),
    (ReleaseRemovedError, 410),
    (UnknownItemError, 404),
    (QueryError, 400),
)

_HTTP = {
    404: "there is no such page",
    405: "the site only shows: it changes nothing",
    413: f"the picture is larger than {MOST_UPLOADED >> 20} MiB; shrink it",
}


def _with_headers(answer: Response) -> Response:
    for name, value in security.HEADERS.items():
        answer.headers.setdefault(name, value)
    return answer


def _kept(answer: Response) -> Response:
    answer.headers["Cache-Control"] = "private, max-age=86400"
    return answer


def _plain(said: str, status: int) -> Response:
    return Response(f"{said}\n", status, mimetype="text/plain")


def _moved(to: str, status: int = 303) -> Response:
    found: Any = redirect(to, status, Response)
    answer: Response = found
    return answer


def _query(arguments: dict[str, str]) -> str:
    return f"?{urlencode(arguments)}" if arguments else ""


def _target() -> str:
    kept = {name: value for name, value in request.args.items() if name != "token"}
    return f"{quote(request.path)}{_query(kept)}" if request.method == "GET" else "/"


def _local(to: str) -> str:
    """Return an address of this site; / for one of another."""
    parts = urlsplit(to) if to.isprintable() else None
    ours = parts is not None and not parts.scheme and not parts.netloc and to.startswith("/")
    return to if ours and not to.startswith(("//", "/\\")) and "\\" not in to else "/"


def _raw(value: str) -> Markup:
    """Return an id for a form as it is: what a page shows of it is made safe to look at, and would not be found."""
    return escape(value)
