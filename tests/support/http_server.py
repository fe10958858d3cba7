"""An HTTP server on loopback that misbehaves as told."""

from __future__ import annotations

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Server:
    """Serves `contents` by path, misbehaving as told, and remembers what it was asked."""

    def __init__(self, contents: dict[str, bytes]):
        self.contents = contents
        self.redirects: dict[str, tuple[str, dict[str, str]]] = {}
        self.drop_after: list[int] = []  # bytes to send before hanging up, a request
        self.ranges = True
        self.stall_s = 0.0
        self.lie_about_size = 0
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_HEAD(self):
                outer.answer(self, False)

            def do_GET(self):
                outer.answer(self, True)

            def do_CONNECT(self):
                outer.answer(self, False)

            def log_message(self, *args):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.http.handle_error = lambda *_: None  # a client that hung up
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        quick = {"poll_interval": 0.01}  # of shutdown()
        threading.Thread(target=self.http.serve_forever, kwargs=quick, daemon=True).start()

    def answer(self, request: BaseHTTPRequestHandler, body: bool) -> None:
        self.requests.append((request.command, request.path, dict(request.headers)))
        if request.path in self.redirects:
            target, headers = self.redirects[request.path]
            request.send_response(302)
            for name, value in {"Location": target, "Content-Length": "0", **headers}.items():
                request.send_header(name, value)
            request.end_headers()
            return
        content = self.contents.get(request.path)
        if content is None:
            request.send_error(404)
            return
        start = 0
        span = request.headers.get("Range", "")
        if span.startswith("bytes=") and self.ranges:
            start = int(span[6:].rstrip("-"))
            if start >= len(content):
                request.send_error(416)
                return
            request.send_response(206)
            request.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            request.send_response(200)
        request.send_header("Content-Length", str(len(content) - start + self.lie_about_size))
        request.end_headers()
        if not body:
            return
        time.sleep(self.stall_s)
        stop = start + self.drop_after.pop(0) if self.drop_after else len(content)
        for at in range(start, min(stop, len(content)), 1 << 16):
            request.wfile.write(content[at : min(at + (1 << 16), stop)])
        request.close_connection = True

    def gets(self) -> list[dict[str, str]]:
        return [headers for command, _, headers in self.requests if command == "GET"]
