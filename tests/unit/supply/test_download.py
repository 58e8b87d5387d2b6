"""Downloads from a real HTTP server on loopback that cuts, lies, forgets ranges or refuses."""

from __future__ import annotations

import hashlib
import http.server
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from harness.errors import ErrorClass, Permanent
from harness.supply.download import cached_path, fetch_url

CONTENT = bytes(range(256)) * 4000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@dataclass
class Behaviour:
    """How the server answers; `requests` holds the Range header of each request."""

    content: bytes = CONTENT
    ranges: bool = True
    cuts: list[int] = field(default_factory=list)
    status: int = 200
    tag: str = '"v1"'
    requests: list[str | None] = field(default_factory=list)


class Handler(http.server.BaseHTTPRequestHandler):
    behaviour: Behaviour

    def do_GET(self) -> None:
        how = self.behaviour
        asked = self.headers.get("Range")
        how.requests.append(asked)
        if how.status != 200:
            self.send_error(how.status)
            return
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and how.ranges else 0
        if self.headers.get("If-Range", how.tag) != how.tag:
            start = 0
        if start >= len(how.content) > 0 and asked and how.ranges:
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(how.content) - 1}/{len(how.content)}")
        self.send_header("ETag", how.tag)
        self.send_header("Content-Length", str(len(how.content) - start))
        self.end_headers()
        stop = how.cuts.pop(0) if how.cuts else len(how.content)
        self.wfile.write(how.content[start : max(start, stop)])

    def log_message(self, format: str, *args: object) -> None:
        """Keep the tests' output clean."""


@pytest.fixture
def server() -> Iterator[tuple[str, Behaviour]]:
    behaviour = Behaviour()
    handler = type("BoundHandler", (Handler,), {"behaviour": behaviour})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{running.server_address[1]}/models/a%20model.gguf?x=1", behaviour
        running.shutdown()
        thread.join(timeout=10)


def test_a_plain_download_is_done_once(server: tuple[str, Behaviour], tmp_path: Path) -> None:
    url, how = server
    seen: list[tuple[int, int]] = []
    file = fetch_url(url, SHA256, tmp_path, progress=lambda done, total: seen.append((done, total)))
    assert file.read_bytes() == CONTENT
    assert file.name == "a_model.gguf"
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert fetch_url(url, SHA256, tmp_path) == file == cached_path(url, SHA256, tmp_path)
    assert how.requests == [None]


def test_a_cut_download_goes_on_where_it_stopped(server: tuple[str, Behaviour], tmp_path: Path) -> None:
    url, how = server
    how.cuts = [300_000, 700_000]
    assert fetch_url(url, SHA256, tmp_path).read_bytes() == CONTENT
    assert how.requests == [None, "bytes=300000-", "bytes=700000-"]


def test_what_a_failed_call_got_is_kept_for_the_next(server: tuple[str, Behaviour], tmp_path: Path) -> None:
    url, how = server
    how.cuts = [400_000, 0, 0, 0, 0]
    with pytest.raises(Permanent) as caught:
        fetch_url(url, SHA256, tmp_path)
    assert caught.value.error_class is ErrorClass.MODEL_MISSING
    assert "400000 bytes are kept" in caught.value.message
    how.cuts = []
    how.requests.clear()
    assert fetch_url(url, SHA256, tmp_path).read_bytes() == CONTENT
    assert how.requests == ["bytes=400000-"]


def test_a_server_without_ranges_sends_it_all_again(server: tuple[str, Behaviour], tmp_path: Path) -> None:
    url, how = server
    how.ranges = False
    how.cuts = [500_000]
    assert fetch_url(url, SHA256, tmp_path).read_bytes() == CONTENT
    assert len(how.requests) == 2


def test_a_file_that_changed_on_the_server_is_not_spliced(server: tuple[str, Behaviour], tmp_path: Path) -> None:
    url, how = server
    how.cuts = [400_000, 0, 0, 0, 0]
    with pytest.raises(Permanent):
        fetch_url(url, None, tmp_path)
    how.cuts, how.tag, how.content = [], '"v2"', CONTENT[::-1]
    assert fetch_url(url, None, tmp_path).read_bytes() == CONTENT[::-1]


def test_a_kept_part_longer_than_the_file_is_thrown_away(server: tuple[str, Behaviour], tmp_path: Path) -> None:
    url, how = server
    target = cached_path(url, SHA256, tmp_path)
    target.parent.mkdir(parents=True)
    target.with_name(target.name + ".part").write_bytes(CONTENT + b"more")
    assert fetch_url(url, SHA256, tmp_path).read_bytes() == CONTENT
    assert how.requests[-1] is None


def test_another_sha256_keeps_nothing(server: tuple[str, Behaviour], tmp_path: Path) -> None:
    url, _ = server
    with pytest.raises(Permanent) as caught:
        fetch_url(url, "0" * 64, tmp_path)
    assert caught.value.error_class is ErrorClass.SHA256_MISMATCH
    assert SHA256 in caught.value.message
    assert not [file for file in tmp_path.rglob("*") if file.is_file() and file.stat().st_size > 0]


@pytest.mark.parametrize(("status", "requests"), [(404, 1), (403, 1), (503, 3)])
def test_a_refusal_is_told(server: tuple[str, Behaviour], tmp_path: Path, status: int, requests: int) -> None:
    url, how = server
    how.status = status
    with pytest.raises(Permanent) as caught:
        fetch_url(url, SHA256, tmp_path, missing=ErrorClass.RUNNER_MISSING)
    assert caught.value.error_class is ErrorClass.RUNNER_MISSING
    assert str(status) in caught.value.message
    assert caught.value.advice
    assert len(how.requests) == requests, "a refusal is final, a server's own trouble is tried again"


def test_no_server_and_no_http(tmp_path: Path) -> None:
    for url in ("http://127.0.0.1:1/x.gguf", "file:///etc/passwd", "nonsense"):
        with pytest.raises(Permanent) as caught:
            fetch_url(url, None, tmp_path)
        assert caught.value.error_class is ErrorClass.MODEL_MISSING


def test_a_cache_that_cannot_be_written_is_told(server: tuple[str, Behaviour], tmp_path: Path) -> None:
    url, _ = server
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(Permanent) as caught:
        fetch_url(url, None, tmp_path / "cache")
    assert caught.value.error_class is ErrorClass.STORAGE_FULL
    assert "FARM_CACHE" in caught.value.advice


@pytest.mark.parametrize("url", ["http://h/", "http://h/..", "http://h/a/%2e%2e%2f%2e%2e", "http://h/" + "n" * 400])
def test_no_url_names_a_file_outside_its_folder(url: str, tmp_path: Path) -> None:
    path = cached_path(url, None, tmp_path)
    assert path.parent.parent == tmp_path / "downloads"
    assert path.name not in ("", ".", "..")
    assert len(path.name) <= 100
