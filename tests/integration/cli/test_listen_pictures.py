"""Saving what a webhook names: pictures within the cap; anything else is a line and no file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from broker.cli.listen_pictures import MAX_PICTURES, Pictures

PICTURE = b"\xff\xd8 as good as a picture"
CAP = 100


@dataclass(frozen=True)
class Site:
    """A web server whose files lie in `folder`."""

    url: str
    folder: Path


class _Handler(SimpleHTTPRequestHandler):
    release: Event

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/moved":
            self._head(302, "Location", "/a.jpg")
        elif path == "/loop":
            self._head(302, "Location", "/loop")
        elif path == "/packed.jpg":
            self._head(200, "Content-Encoding", "gzip")
        elif path == "/endless.jpg":
            self._head(200, "X-Length", "none")
            self.wfile.write(b"x" * (CAP + 1))
        elif path == "/silent.jpg":
            self.release.wait(60)
        else:
            super().do_GET()

    def _head(self, status: int, name: str, value: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "image/jpeg")
        self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "a.jpg").write_bytes(PICTURE)
    (folder / "exact.png").write_bytes(b"x" * CAP)
    (folder / "large.png").write_bytes(b"x" * (CAP + 1))
    (folder / "page.html").write_bytes(b"<html>")

    class Handler(_Handler):
        release = Event()

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder))) as server:
        thread = Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield Site(f"http://127.0.0.1:{server.server_address[1]}", folder)
        Handler.release.set()
        server.shutdown()
        thread.join()


async def save(folder: Path, *links: str, seconds: float = 60, own: str = "") -> list[str]:
    event = {"id": "b", "response": {"records": [{"link": link} for link in links]}}
    async with Pictures(folder, own, CAP, seconds) as pictures:
        return [line async for line in pictures.save(event, anywhere=not own)]


async def test_a_picture_is_saved_also_behind_a_redirect_and_again_under_its_name(site: Site, tmp_path: Path) -> None:
    made = tmp_path / "made" / "deep"
    for _ in range(2):
        lines = await save(made, f"{site.url}/a.jpg?signature=x", f"{site.url}/moved", f"{site.url}/exact.png")
        assert lines == [f"saved {made / name}" for name in ("b-1-1-a.jpg", "b-2-2-moved", "b-3-3-exact.png")]
    assert {path.name: path.read_bytes() for path in made.iterdir()} == {
        "b-1-1-a.jpg": PICTURE,
        "b-2-2-moved": PICTURE,
        "b-3-3-exact.png": b"x" * CAP,
    }


async def test_of_a_webhook_that_is_not_checked_only_links_to_the_broker_are_followed(
    site: Site, tmp_path: Path
) -> None:
    other = site.url.replace("127.0.0.1", "localhost")
    links = (f"{other}/a.jpg", f"{site.url}@{other[7:]}/a.jpg", "http\u017f://[/a.jpg", f"{site.url}/a.jpg")
    lines = await save(tmp_path, *links, own=site.url)
    assert [line.partition(": ")[0] for line in lines[:3]] == ["not saved"] * 3
    assert all("not on the broker's own URL" in line for line in lines[:3])
    assert lines[3] == f"saved {tmp_path / 'b-4-4-a.jpg'}"


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/large.png", "larger than 100 bytes"),
        ("/endless.jpg", "larger than 100 bytes"),
        ("/page.html", "no picture but text/html"),
        ("/nothing.jpg", "answered 404"),
        ("/loop", "Exceeded maximum allowed redirects."),
        ("/packed.jpg", "compressed, though that was not asked for"),
        ("/\N{SNOWMAN}%zz", "answered 404"),
    ],
)
async def test_what_is_no_picture_within_the_cap_is_a_line_and_no_file(
    site: Site, tmp_path: Path, path: str, reason: str
) -> None:
    lines = await save(tmp_path / "made", site.url + path, f"{site.url}/a.jpg")
    assert lines == [f"not saved: {site.url}{path}: {reason}", f"saved {tmp_path / 'made' / 'b-2-2-a.jpg'}"]
    assert [file.name for file in (tmp_path / "made").iterdir()] == ["b-2-2-a.jpg"]


async def test_a_server_that_does_not_answer_is_left(site: Site, tmp_path: Path) -> None:
    assert await save(tmp_path / "made", f"{site.url}/silent.jpg", seconds=0.3) == [
        f"not saved: {site.url}/silent.jpg: not within 0.3 s"
    ]


@pytest.mark.parametrize("link", ["http://127.0.0.1:1/a", "http://[", "http://x:99999999/", "http://\udc80/"])
async def test_an_address_that_is_none_is_a_line(tmp_path: Path, link: str) -> None:
    (line,) = await save(tmp_path / "made", link)
    assert line.startswith("not saved: http://")
    assert not (tmp_path / "made").exists()


async def test_a_folder_that_cannot_be_written_is_a_line(site: Site, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (line,) = await save(tmp_path / "file", f"{site.url}/a.jpg")
    assert "the file cannot be written: " in line


async def test_more_pictures_than_a_result_can_have_are_counted(tmp_path: Path) -> None:
    lines = await save(tmp_path / "made", *["http://127.0.0.1:1/a"] * (MAX_PICTURES + 5))
    assert len(lines) == MAX_PICTURES + 1
    assert lines[-1] == "not saved: 5 more than 100 pictures"


@pytest.mark.parametrize("event", [None, 7, [], {}, {"response": 1}, {"response": {"records": "http://x/"}}])
async def test_what_is_no_result_names_no_pictures(tmp_path: Path, event: Any) -> None:
    async with Pictures(tmp_path) as pictures:
        assert [line async for line in pictures.save(event, anywhere=True)] == []
