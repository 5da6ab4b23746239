"""The server of the page: one session, for one browser on the same machine, that knows a secret address."""

from __future__ import annotations

import hmac
import json
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from importlib.resources import files
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from pose.cli import UserError
from pose.page.session import BusyError, Session
from pose.page.state import about_scan, pixels_of, state_of, upright_labels, upright_truth
from pose.prompts.prompt import BOX_KEYS, Box

LOGGER = logging.getLogger(__name__)

ADDRESS = "127.0.0.1"
# under these names, through a tunnel with any port, the server is reached; a foreign page that has its own name point
# here sends that name
HOSTS = ("127.0.0.1", "localhost")
LONGEST_BODY = 10_000
LARGEST_NUMBER = 10**6
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
FILES = {
    "": ("page.html", "text/html"),
    "page.css": ("page.css", "text/css"),
    "page.js": ("page.js", "text/javascript"),
    "icon.svg": ("icon.svg", "image/svg+xml"),
}
WRONG_ADDRESS = "This is not the address that the program printed in its terminal. Open that one."


def bind(port: int) -> socket.socket:
    """Return a socket that listens on this machine alone, at a free port where ``port`` is 0.

    Raises:
        UserError: the port is taken, or may not be used.
    """
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((ADDRESS, port))
        listening.listen()
    except (OSError, OverflowError) as error:
        listening.close()
        reason = error.strerror if isinstance(error, OSError) else "there are 65535"
        raise UserError(f"--port {port}: {reason}; leave it out for a free one") from None
    return listening


def server_of(app: Starlette) -> uvicorn.Server:
    """Return what serves ``app``, by ``run(sockets=[...])``, until it is interrupted."""
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, server_header=False, ws="none", timeout_graceful_shutdown=1
    )
    return uvicorn.Server(config)


def make_app(session: Session, token: str) -> Starlette:
    """Return the application: all of it lies below ``/token/``."""

    @asynccontextmanager
    async def closing(app: Starlette) -> AsyncIterator[None]:
        yield
        session.close()

    def page(request: Request) -> Response:
        name, kind = FILES[request.url.path.rpartition("/")[2]]
        return Response(files("pose.page").joinpath(name).read_bytes(), media_type=kind)

    def scan(request: Request) -> Response:
        return JSONResponse(about_scan(session))

    def state(request: Request) -> Response:
        return JSONResponse(state_of(session))

    def pixels(request: Request) -> Response:
        return _bytes(pixels_of(session, _slice(request, session)).tobytes())

    def labels(request: Request) -> Response:
        return _bytes(upright_labels(session, _slice(request, session)).tobytes())

    def truth(request: Request) -> Response:
        if session.case.truth is None:
            raise HTTPException(404, "there is no ground truth")
        return _bytes(upright_truth(session, _slice(request, session)).tobytes())

    def contact_sheet(request: Request) -> Response:
        if session.saved is None:
            raise HTTPException(404, "nothing was saved yet")
        return FileResponse(session.saved["contact_sheet"])

    routes = [
        *(Route(f"/{name}", page) for name in FILES),
        Route("/scan", scan),
        Route("/state", state),
        Route("/pixels/{slice:int}", pixels),
        Route("/labels/{slice:int}", labels),
        Route("/truth/{slice:int}", truth),
        Route("/contact_sheet.png", contact_sheet),
        Route("/do/{action}", _doing(session), methods=["POST"]),
    ]
    return Starlette(
        routes=[Mount("/{token}", routes=routes)],
        middleware=[Middleware(_Guard, token=token), Middleware(GZipMiddleware, minimum_size=1000, compresslevel=1)],
        exception_handlers={HTTPException: _refused},
        lifespan=closing,
    )


class _Guard:
    """Lets in only what comes from the page itself, and says of each answer what a browser may do with it."""

    def __init__(self, app: ASGIApp, token: str):
        self.app, self.token = app, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *((k.encode(), v.encode()) for k, v in HEADERS.items())]
            await send(message)

        reason = self._why_not(Request(scope))
        app: ASGIApp = self.app if reason is None else PlainTextResponse(reason, 403)
        await app(scope, receive, send_with_headers)

    def _why_not(self, request: Request) -> str | None:
        host = request.headers.get("host", "")
        if host.rpartition(":")[0] not in HOSTS and host not in HOSTS:
            return "This server answers to 127.0.0.1 and localhost alone."
        origin = request.headers.get("origin")
        if origin != f"http://{host}" and (origin is not None or request.method not in ("GET", "HEAD")):
            return "This server answers to its own page alone."
        given = request.url.path.split("/")[1]
        if not hmac.compare_digest(given.encode(), self.token.encode()):
            return WRONG_ADDRESS
        return None


def _doing(session: Session) -> Callable[[Request], Awaitable[Response]]:
    """Return the endpoint of all that changes something: JSON in, the new state out."""

    async def do(request: Request) -> Response:
        body = b""
        async for piece in request.stream():
            body += piece
            if len(body) > LONGEST_BODY:
                raise HTTPException(413, "that is too long")
        given = _Given(body)
        number, flag = given.number, given.flag
        actions: dict[str, Callable[[], Any]] = {
            "point": lambda: session.point(
                number("object"), number("slice"), number("row"), number("column"), flag("inside")
            ),
            "box": lambda: session.box(number("object"), number("slice"), given.box(), flag("further")),
            "absent": lambda: session.absent(number("object"), number("slice"), flag("absent")),
            "clear": lambda: session.clear(number("object"), number("slice")),
            "undo": session.undo,
            "name": lambda: session.name_object(number("object"), given.text("name")),
            "remove": lambda: session.remove_object(number("object")),
            "carry": session.carry,
            "cancel": session.cancel,
            "save": session.save,
        }
        action = actions.get(request.path_params["action"])
        if action is None:
            raise HTTPException(404, "there is no such thing to do")
        try:
            seconds = await run_in_threadpool(action)
        except UserError as error:
            raise HTTPException(422, str(error)) from None
        except BusyError as error:
            raise HTTPException(409, str(error)) from None
        answer = await run_in_threadpool(state_of, session)
        return JSONResponse({**answer, "seconds": seconds})

    return do


class _Given:
    """What a request brings: a JSON object of whole numbers, words and yes or no."""

    def __init__(self, body: bytes):
        try:
            self.values = json.loads(body or b"{}")
        except (ValueError, RecursionError):
            self.values = None
        if not isinstance(self.values, dict):
            raise HTTPException(422, "a JSON object is needed")

    def number(self, name: str) -> int:
        value = self.values.get(name)
        if type(value) is not int or abs(value) > LARGEST_NUMBER:
            raise HTTPException(422, f"{name}: a whole number is needed")
        return value

    def box(self) -> Box:
        row_min, column_min, row_max, column_max = (self.number(name) for name in BOX_KEYS)
        return row_min, column_min, row_max, column_max

    def flag(self, name: str) -> bool:
        if not isinstance(value := self.values.get(name, False), bool):
            raise HTTPException(422, f"{name}: true or false is needed")
        return value

    def text(self, name: str) -> str:
        if not isinstance(value := self.values.get(name, ""), str):
            raise HTTPException(422, f"{name}: a text is needed")
        return value


def _slice(request: Request, session: Session) -> int:
    slice_index = int(request.path_params["slice"])
    if slice_index >= session.clicks.shape[2]:
        raise HTTPException(404, f"slice {slice_index}: no such slice")
    return slice_index


def _bytes(content: bytes) -> Response:
    return Response(content, media_type="application/octet-stream")


def _refused(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    return JSONResponse({"error": error.detail}, error.status_code)
