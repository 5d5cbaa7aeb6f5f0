"""The web application: a page, and what it asks for.

It shows images of one index by their places in it; no path ever comes from outside. Only requests
to this machine by its own names are answered, so that no other site can reach it through a browser.
"""

from __future__ import annotations

import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from pipelines.web.library import Library
from weaksup.errors import UserError

HOSTS = ["127.0.0.1", "localhost"]
HERE = Path(__file__).parent
UPLOAD_BYTES = 20 * 1024 * 1024
LONGEST_SENTENCE, MOST_RESULTS, RESULTS = 1000, 200, 30
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' blob: data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def make_app(library: Library) -> Starlette:
    """The application.

    Args:
        library: what it shows.
    """

    async def home(request: Request) -> Response:
        return FileResponse(HERE / "page.html", media_type="text/html")

    async def style(request: Request) -> Response:
        return FileResponse(HERE / "page.css", media_type="text/css")

    async def script(request: Request) -> Response:
        return FileResponse(HERE / "page.js", media_type="text/javascript")

    def about(request: Request) -> Response:
        run, index = library.run, library.index
        facts = {"run": run.folder.name, "model": run.model_name, "images": len(index)}
        return JSONResponse({**facts, "example": index.known[0].caption if index.known else ""})

    def search(request: Request) -> Response:
        sentence = _sentence(request)
        if not sentence:
            raise HTTPException(400, "write a sentence first")
        return JSONResponse(library.by_text(sentence, top=_top(request)))

    def like(request: Request) -> Response:
        return JSONResponse(library.by_image(_place(request, library), top=_top(request)))

    def details(request: Request) -> Response:
        place = _place(request, library)
        return JSONResponse(library.details(place, sentence=_sentence(request)))

    def thumbnail(request: Request) -> Response:
        return _jpeg(library.thumbnail(_place(request, library)))

    def picture(request: Request) -> Response:
        return _jpeg(library.picture(_place(request, library)))

    async def upload(request: Request) -> Response:
        if not request.headers.get("content-type", "").startswith("image/"):
            raise HTTPException(415, "send a picture")
        with tempfile.TemporaryDirectory(prefix="weaksup-") as folder:
            # A name of ours: what the picture is called at home plays no part.
            path = Path(folder) / "picture"
            await _receive(request, path)
            found = await run_in_threadpool(library.by_picture, path, top=_top(request))
        return JSONResponse(found)

    async def user_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, UserError)
        content = {"error": error.message, "hint": error.hint}
        return JSONResponse(content, status_code=422)

    async def http_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return JSONResponse({"error": error.detail, "hint": ""}, status_code=error.status_code)

    return Starlette(
        routes=[
            Route("/", home),
            Route("/page.css", style),
            Route("/page.js", script),
            Route("/api/about", about),
            Route("/api/search", search),
            Route("/api/picture", upload, methods=["POST"]),
            Route("/api/like/{place:int}", like),
            Route("/api/image/{place:int}", details),
            Route("/thumbnail/{place:int}.jpg", thumbnail),
            Route("/picture/{place:int}.jpg", picture),
        ],
        middleware=[
            Middleware(TrustedHostMiddleware, allowed_hosts=HOSTS, www_redirect=False),
            Middleware(BaseHTTPMiddleware, dispatch=_with_headers),
        ],
        exception_handlers={UserError: user_error, HTTPException: http_error},
    )


async def _with_headers(
    request: Request, call_next: Callable[[Request], Awaitable[Response]]
) -> Response:
    response = await call_next(request)
    response.headers.update(HEADERS)
    return response


def _jpeg(content: bytes) -> Response:
    return Response(content, media_type="image/jpeg", headers={"Cache-Control": "max-age=3600"})


def _sentence(request: Request) -> str:
    sentence: str = request.query_params.get("q", "").strip()
    if len(sentence) > LONGEST_SENTENCE:
        raise HTTPException(400, f"the sentence is longer than {LONGEST_SENTENCE:,} characters")
    return sentence


def _top(request: Request) -> int:
    given: Any = request.query_params.get("top", RESULTS)
    try:
        return max(1, min(int(given), MOST_RESULTS))
    except ValueError:
        raise HTTPException(400, "top is a number") from None


def _place(request: Request, library: Library) -> int:
    place = int(request.path_params["place"])
    if not 0 <= place < len(library.index):
        raise HTTPException(404, "there is no such image")
    return place


async def _receive(request: Request, path: Path) -> None:
    """The body to a file; no more of it than is allowed is ever kept."""
    size = 0
    with path.open("wb") as file:
        async for part in request.stream():
            size += len(part)
            if size > UPLOAD_BYTES:
                limit = UPLOAD_BYTES // 1024**2
                raise HTTPException(413, f"the picture is larger than {limit} MB")
            file.write(part)
    if not size:
        raise HTTPException(400, "the picture is empty")
