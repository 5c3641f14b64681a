"""A hub of weights on this machine: serves files, notes what is requested, or fails."""

from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread

import pytest
import timm
import torch
from huggingface_hub import constants
from safetensors.torch import save

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(ThreadingHTTPServer):
    """`files` by path; `requests` of them so far. `state`: open, silent or a status."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.files: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.state: str | int = "open"
        self.reached, self.end = Event(), Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Answer(BaseHTTPRequestHandler):
    """One request, answered as the state of the hub says."""

    def do_HEAD(self) -> None:
        hub = self.server
        if not self.path.startswith("/api/"):  # the client's own questions about itself
            hub.requests.append(f"{self.command} {self.path}")
            hub.reached.set()
        if hub.state == "silent":
            return hub.end.wait()
        content = hub.files.get(self.path, b"")
        status = (200 if content else 404) if hub.state == "open" else hub.state
        self.send_response(status)
        if status == 404:
            self.send_header("X-Error-Code", "EntryNotFound")
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{sha256(content).hexdigest()}"')
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    do_GET = do_HEAD

    def log_message(self, *_: object) -> None:
        """Nothing on the terminal."""


@contextmanager
def hub_stand_in(cache: Path) -> Iterator[Hub]:
    """The only hub that can be reached, empty, and `cache`, of its client."""
    hub = Hub()
    template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, hub.url)
    thread = Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(constants, "HF_HUB_CACHE", str(cache))
            patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
            patch.setattr(constants, "ENDPOINT", hub.url)
            yield hub
    finally:
        hub.end.set()
        hub.shutdown()
        thread.join()
        hub.server_close()


def weights_of(arch: str) -> bytes:
    """A safetensors file for `arch` as timm publishes it, of random weights."""
    torch.manual_seed(1)
    return save(timm.create_model(arch).state_dict())


def put_in_cache(cache: Path, repo: str, name: str, content: bytes) -> Path:
    """`content` as the hub's client leaves a download of `name` from `repo`."""
    folder = cache / f"models--{repo.replace('/', '--')}"
    path = folder / "snapshots" / COMMIT / name
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(COMMIT)
    return path
