"""The load of benches ends with its time, or with so many POSTs."""

from __future__ import annotations

from bench import servers
from bench.load import measure

BODY = b'{"type":"upscaler","records":[{"_url":"https://example.com/a.jpg"}]}'
REQUEST = b"POST /account/v2/request HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY)


def test_a_round_of_so_many_posts_has_neither_more_nor_fewer() -> None:
    with servers.bare() as port:
        sample = measure(port, REQUEST, 4, 60.0, 50)
    assert (sample.accepted, sample.refused) == (50, 0)


def test_a_round_is_over_after_its_time() -> None:
    with servers.bare() as port:
        sample = measure(port, REQUEST, 4, 0.1)
    assert sample.accepted > 50
