"""A proxy on loopback between gangplank and a cloud's API: it writes down each request with its answer.

gangplank talks to it in plain HTTP through its endpoint settings and sends no credentials that count. The recorder
authenticates each request anew, as `identity` says, and passes it on.
"""

import http.client
import http.server
import threading
import urllib.parse

# What decides about an answer; credentials and everything that names this machine stay out.
REQUEST_HEADERS = ("content-type", "accept", "if-match", "if-none-match", "x-ms-client-request-id")
ANSWER_HEADERS = ("azure-asyncoperation", "content-type", "etag", "location", "retry-after")
TIMEOUT_S = 120


class Recorder:
    """`identity(method, url, headers, body)` returns the headers that authenticate a request; `upstream(headers)` names the cloud;
    what does not lead to `within` is passed on and not written down."""

    def __init__(self, upstream, identity, within="/"):
        self.upstream = upstream
        self.identity = identity
        self.within = within
        self.exchanges = []
        self.lock = threading.Lock()
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler(self))
        self.endpoint = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def ask(self, method, path, headers=None, body=b"", identity=None, record=True):
        """One request to the cloud: status, headers by their names in lower case, body."""
        headers = {name.lower(): value for name, value in (headers or {}).items()}
        origin = self.upstream(headers)
        url = path if path.startswith("http") else origin + path
        kept = {name: headers[name] for name in REQUEST_HEADERS if name in headers}
        kept.update((identity or self.identity)(method, url, kept, body))
        answer = send(method, url, kept, body)
        if record and urllib.parse.urlsplit(url).path.startswith(self.within):
            self.write_down(method, url, body, answer)
        return answer

    def write_down(self, method, url, body, answer):
        status, headers, content = answer
        exchange = {
            "method": method,
            "url": url,
            "request": body.decode("utf-8", "replace") if body else None,
            "status": status,
            "headers": {name: headers[name] for name in ANSWER_HEADERS if name in headers},
            "response": content.decode("utf-8", "replace") if content else None,
        }
        with self.lock:
            self.exchanges.append(exchange)


def send(method, url, headers, body):
    parts = urllib.parse.urlsplit(url)
    connect = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = connect(parts.netloc, timeout=TIMEOUT_S)
    try:
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        sent = dict(headers)
        if body or method in ("PUT", "POST", "PATCH"):
            sent["content-length"] = str(len(body))
        connection.request(method, target or "/", body=body or None, headers=sent)
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    finally:
        connection.close()


def handler(recorder):
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def pass_on(self):
            headers = {name.lower(): value for name, value in self.headers.items()}
            body = self.rfile.read(int(headers.get("content-length") or 0))
            try:
                status, answered, content = recorder.ask(self.command, self.path, headers, body)
            except (OSError, http.client.HTTPException):
                # The cloud gave no answer, and so does this; gangplank knows what to do about it.
                self.close_connection = True
                return
            origin = recorder.upstream(headers)
            # Addresses to ask again lead through here, too.
            content = content.replace(origin.encode(), recorder.endpoint.encode())
            self.send_response(status)
            for name, value in answered.items():
                if name not in ("connection", "content-length", "transfer-encoding", "date", "server"):
                    self.send_header(name, value.replace(origin, recorder.endpoint))
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_PUT = do_POST = do_PATCH = do_DELETE = do_HEAD = pass_on

        def log_message(self, *_):
            pass

    return Handler
