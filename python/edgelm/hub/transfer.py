"""Fetching a file over HTTP, going on where an earlier transfer broke off."""

from __future__ import annotations

import http.client
import os
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from email.message import Message
from typing import Any
from urllib.request import Request

from ..errors import DownloadError
from . import shared
from .files import CHUNK_BYTES, PartialFile, Progress, Step, check_room
from .models import HubFile
from .proxies import proxy_handler

TIMEOUT_S = 10.0
MAX_STALLS = 5  # attempts in a row that come no further
FIRST_PAUSE_S = 0.5  # doubles with every stall


class _BrokenError(Exception):
    """The connection failed; another attempt may do better."""


def hub_url(file: HubFile) -> str:
    """Where the hub serves a file; HF_ENDPOINT names a mirror, as it does for other clients."""
    endpoint = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
    if not endpoint.lower().startswith(("http://", "https://")):
        raise DownloadError(
            f"HF_ENDPOINT is {endpoint!r:.60}; expected a URL such as https://huggingface.co"
        )
    revision = urllib.parse.quote(file.revision, safe="")  # refs/pr/1 is one part of the address
    repo, path = map(urllib.parse.quote, (file.repo, file.path))
    return f"{endpoint.rstrip('/')}/{repo}/resolve/{revision}/{path}"


def stated_by_hub(file: HubFile) -> tuple[int | None, str | None]:
    """Size and SHA-256 of a file as the hub states them. A request without a transfer.

    The hub redirects large files to storage; what it says of them stands in the redirect itself.
    Where HEAD is refused, as by some proxies and mirrors, the beginning of a GET says the same.
    """
    url = hub_url(file)
    try:
        headers = _headers(url, "HEAD")
    except urllib.error.HTTPError as answer:
        if answer.code in (401, 404):
            raise _refusal(answer, Request(url)) from answer
        try:
            headers = _headers(url, "GET")
        except urllib.error.HTTPError as refused:
            raise _refusal(refused, Request(url)) from refused
    digest = headers.get("X-Linked-Etag", "").strip('"').lower()
    size = headers.get("X-Linked-Size") or headers.get("Content-Length") or ""
    return (int(size) if size.isdecimal() else None, digest if len(digest) == 64 else None)


def _headers(url: str, method: str) -> Message:
    """Those of the answer, or of the redirect to storage. Raises HTTPError, DownloadError."""
    request = _request(url, shared.token())
    request.method = method
    try:
        with _open(_opener(url, _SameHostRedirects), request) as response:
            headers: Message = response.headers
    except urllib.error.HTTPError as answer:
        if answer.code // 100 != 3:
            raise
        headers = answer.headers
    except _BrokenError as broken:
        raise DownloadError(f"{request.host}: {broken}") from broken
    return headers


def _opener(url: str, *handlers: type[urllib.request.BaseHandler]) -> urllib.request.OpenerDirector:
    return urllib.request.build_opener(proxy_handler(url), *handlers)


def fetch(url: str, part: PartialFile, n_bytes: int | None, progress: Progress) -> None:
    """Append to `part` what it lacks of the file at `url`. Raises DownloadError.

    A connection that breaks is taken up again; one that never gave a byte is not, so that another
    source gets its turn soon. A server without ranges starts over.
    """
    begun = furthest = part.n_bytes
    stalls = 0
    while True:
        try:
            return _transfer(url, part, n_bytes, progress)
        except urllib.error.HTTPError as answer:
            if answer.code != 416 or part.n_bytes == 0:
                raise _refusal(answer, Request(url)) from answer
            part.restart()  # the range that it lacks begins behind the file's end
        except _BrokenError as broken:
            stalls = 0 if part.n_bytes > furthest else stalls + 1
            furthest = max(furthest, part.n_bytes)
            if furthest == begun or stalls == MAX_STALLS:
                raise DownloadError(f"{Request(url).host}: {broken}") from broken
            progress(Step(f"{Request(url).host}: {broken}; trying again"))
            time.sleep(FIRST_PAUSE_S * 2**stalls)


def _transfer(url: str, part: PartialFile, n_bytes: int | None, progress: Progress) -> None:
    request = _request(url, shared.token())
    if part.n_bytes:
        request.add_header("Range", f"bytes={part.n_bytes}-")
    with _open(_opener(url), request) as response:
        total = _total(response, part)
        if n_bytes is not None and total is not None and total != n_bytes:
            raise DownloadError(f"{request.host}: has {total:,} bytes there, expected {n_bytes:,}")
        label = f"{part.target.name} from {request.host}"
        check_room(part.path.parent, (total or n_bytes or 0) - part.n_bytes)
        for chunk in _chunks(response):
            if total is not None and part.n_bytes + len(chunk) > total:
                raise DownloadError(f"{request.host}: sent more than the {total:,} bytes it stated")
            part.write(chunk)
            progress(Step(label, part.n_bytes, total or n_bytes or 0))
    if total is not None and part.n_bytes < total:
        raise _BrokenError(f"the transfer ended at byte {part.n_bytes:,} of {total:,}")


def _total(response: Any, part: PartialFile) -> int | None:
    """Size of the whole file. Restarts `part` if the server sends it from the beginning."""
    if response.status == 206:
        span, _, size = response.headers.get("Content-Range", "").partition("/")
        if span.split("-")[0] == f"bytes {part.n_bytes}" and size.isdecimal():
            return int(size)
        raise DownloadError(f"{response.url}: answered with the range {span!r:.60}")
    part.restart()
    length = response.headers.get("Content-Length", "")
    return int(length) if length.isdecimal() else None


def _chunks(response: Any) -> Iterator[bytes]:
    while True:
        try:
            chunk = response.read(CHUNK_BYTES)
        except (OSError, http.client.HTTPException) as error:
            raise _BrokenError(_reason(error)) from error
        if not chunk:
            return
        yield chunk


class _SameHostRedirects(urllib.request.HTTPRedirectHandler):
    """Follows a renamed repository, not the way to storage."""

    def redirect_request(
        self, req: Request, fp: Any, code: int, msg: str, headers: Message, newurl: str
    ) -> Request | None:
        if urllib.parse.urlsplit(newurl).netloc != urllib.parse.urlsplit(req.full_url).netloc:
            return None
        return super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type]


def _request(url: str, token: str | None) -> Request:
    request = Request(url, headers={"User-Agent": "edgelm", "Accept-Encoding": "identity"})
    if token:  # for the hub only: where it redirects to must not see it
        request.add_unredirected_header("Authorization", f"Bearer {token}")
    return request


def _open(opener: urllib.request.OpenerDirector, request: Request) -> Any:
    try:
        return opener.open(request, timeout=TIMEOUT_S)
    except urllib.error.HTTPError:
        raise
    except (OSError, http.client.HTTPException) as error:
        raise _BrokenError(_reason(error)) from error


def _refusal(answer: urllib.error.HTTPError, request: Request) -> DownloadError:
    advice = {
        401: ". Set HF_TOKEN to an access token that may read it",
        403: ". Accept the model's terms on its page, and set HF_TOKEN to your access token",
        404: ". Check the owner, the repository and the file's name",
        407: ". The proxy wants a user and a password: http://USER:PASSWORD@HOST:PORT",
    }.get(answer.code, "")
    return DownloadError(
        f"{request.host}: {answer.code} {answer.reason} for {request.selector}{advice}"
    )


def _reason(error: Exception) -> str:
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    text = getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
    if "407" in text:
        text += "; write user and password into its URL: http://USER:PASSWORD@HOST:PORT"
    return text[0].lower() + text[1:]
