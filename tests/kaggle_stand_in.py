"""A small server that plays Kaggle's side of the calls this project makes, over real HTTP.

The official client, unpatched, is sent here by its proxy variables (`kaggle_user.environment`).
"""

import json
import socket
import threading
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from tests import kaggle_kernels

USER, KEY = "planted-user", "planted-key-7f3a9c51"
STORAGE = kaggle_kernels.STORAGE
ETAG, MODIFIED = '"archive-1"', "Wed, 01 Jun 2022 10:00:00 GMT"
CUT, HOLD = "cut", "hold"


class StandIn:
    """Kaggle's memory, and the switches for what goes wrong.

    `troubles[call]` is taken from the front, one a request: `CUT` or (status, message, headers).
    """

    def __init__(self):
        self.archive = b""
        self.announced = None  # a size for the archive other than its own
        self.body_troubles = []  # CUT or HOLD half-way through the next answers
        self.troubles = defaultdict(list)
        self.submissions = []  # newest first, as Kaggle lists them
        self.uploads = {}
        self.loses_submissions = False
        self.limits = {"numToday": 1, "numTotal": 3, "numAllowedNow": 4}
        self.score_after = 1  # looks at the list; None: the score never comes
        self.mark = lambda csv: ("0.98769", "0.98732")
        self.rejection = ""  # what Kaggle says about a file it cannot score
        self.kernels = {}
        self.run_kernel = lambda request: {}
        self.kernel_states = ["QUEUED", "RUNNING", "COMPLETE"]
        self.session_limit = 2
        self.seen = []  # call, headers, body
        self.slept = []  # seconds, by the user's commands
        self.release = threading.Event()

    def __enter__(self):
        handler = type("Bound", (Handler,), {"kaggle": self})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.server.daemon_threads = True
        self.server.handle_error = lambda *_: None  # a user who is killed hangs up
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,))
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.release.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def called(self, call):
        """The requests of this name so far."""
        return [request for request in self.seen if request[0] == call]

    def add_submission(self, name, size, description, when):
        """Put a submission on top of the list, not scored yet."""
        ref = 40_000_000 + len(self.submissions)
        entry = {"ref": ref, "fileName": name, "totalBytes": size, "description": description}
        entry |= {"date": when.isoformat() + "Z", "status": "PENDING", "looks": 0}
        self.submissions.insert(0, entry)


class Handler(BaseHTTPRequestHandler):
    """One answer for each call of the official client."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_POST(self):
        """The client's calls: /api/v1/<service>/<name> with a JSON body."""
        call = urlsplit(self.path).path.rsplit("/", 1)[-1]
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])) or b"{}")
        self.kaggle.seen.append((call, dict(self.headers), body))
        if self.trouble(call):
            return
        if not self.headers.get("Authorization", "").startswith("Basic "):
            return self.answer({"code": 401, "message": "Unauthenticated"}, 401)
        if hasattr(kaggle_kernels, call):
            return self.answer(getattr(kaggle_kernels, call)(self.kaggle, body))
        getattr(self, call)(body)

    def do_GET(self):
        """Stored files: the archive, in ranges, and the outputs of kernels."""
        path = urlsplit(self.path).path
        self.kaggle.seen.append((path, dict(self.headers), None))
        if self.trouble(path):
            return
        if path == "/archive.zip":
            return self.archive()
        query = parse_qs(urlsplit(self.path).query)
        self.answer(self.kaggle.kernels[query["kernel"][0]]["files"][query["file"][0]])

    def do_PUT(self):
        """The second step of a submission: the file itself."""
        token = urlsplit(self.path).path.rsplit("/", 1)[-1]
        self.kaggle.seen.append(("upload", dict(self.headers), None))
        trouble = self.kaggle.troubles["upload"][:1]
        size = int(self.headers["Content-Length"])
        body = self.rfile.read(size // 2 if trouble == [CUT] else size)
        if not self.trouble("upload"):
            self.kaggle.uploads[token] = body
            self.answer(b"")

    def trouble(self, call):
        """Play the next trouble a test ordered for this call, if there is one."""
        if not self.kaggle.troubles[call]:
            return False
        trouble = self.kaggle.troubles[call].pop(0)
        if trouble == CUT:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
        else:
            status, message, *headers = trouble
            self.answer({"code": status, "message": message}, status, *headers)
        return True

    def answer(self, body, status=200, headers=None):
        """JSON for a dictionary, else the bytes themselves."""
        kind = "application/json" if isinstance(body, dict) else "application/octet-stream"
        content = json.dumps(body).encode() if isinstance(body, dict) else body
        self.head(status, {"Content-Type": kind, "Content-Length": len(content), **(headers or {})})
        self.wfile.write(content)

    def head(self, status, headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, str(value))
        self.end_headers()

    def DownloadDataFiles(self, _):
        self.head(302, {"Location": f"{STORAGE}/archive.zip?sig=x", "Content-Length": 0})

    def archive(self):
        """The archive, or the rest of it; a body trouble stops it half-way."""
        wanted = self.headers.get("Range", "")
        start = int(wanted[6:-1]) if wanted and self.headers.get("If-Range") == ETAG else 0
        whole = self.kaggle.archive
        size = self.kaggle.announced or len(whole)
        headers = {"Content-Length": size - start, "Content-Type": "application/zip"}
        headers |= {"Accept-Ranges": "bytes", "ETag": ETAG, "Last-Modified": MODIFIED}
        if start:
            headers["Content-Range"] = f"bytes {start}-{size - 1}/{size}"
        self.head(206 if start else 200, headers)
        trouble = self.kaggle.body_troubles.pop(0) if self.kaggle.body_troubles else ""
        end = (start + len(whole)) // 2 if trouble else len(whole)
        self.wfile.write(whole[start:end])
        if trouble == HOLD:
            self.kaggle.release.wait(60)
        self.close_connection = bool(trouble) or self.kaggle.announced is not None

    def StartSubmissionUpload(self, body):
        token = f"{len(self.kaggle.uploads)}-{body['fileName']}"
        self.answer({"token": token, "createUrl": f"{STORAGE}/upload/{token}"})

    def CreateSubmission(self, body):
        token = body["blobFileTokens"]
        if not self.kaggle.loses_submissions:
            content, name = self.kaggle.uploads[token], token.split("-", 1)[1]
            message = body.get("submissionDescription", "")
            self.kaggle.add_submission(name, len(content), message, days_ago(0))
            self.kaggle.submissions[0]["scores"] = self.kaggle.mark(content)
        if not self.trouble("CreateSubmission answer"):
            self.answer({"message": "Successfully submitted to Paddy Doctor"})

    def GetSubmissionLimits(self, _):
        self.answer(self.kaggle.limits)

    def ListSubmissions(self, body):
        size, page = body.get("pageSize", 20), body.get("page", 1)
        for entry in self.kaggle.submissions:
            self.look(entry)
        shown = self.kaggle.submissions[(page - 1) * size : page * size]
        self.answer({"submissions": [{k: v for k, v in e.items() if k != "scores"} for e in shown]})

    def look(self, entry):
        """Each look at the list brings the score nearer."""
        entry["looks"] += 1
        if self.kaggle.rejection:
            entry |= {"status": "ERROR", "errorDescription": self.kaggle.rejection}
        elif self.kaggle.score_after is not None and entry["looks"] > self.kaggle.score_after:
            public, private = entry.get("scores", ("0.98000", "0.97900"))
            entry |= {"status": "COMPLETE", "publicScore": public, "privateScore": private}


def days_ago(days):
    """So many days before now, as Kaggle dates submissions: UTC without a zone."""
    return datetime.now(UTC).replace(tzinfo=None) - timedelta(days=days)
