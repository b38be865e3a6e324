"""Pictures in a POST's body come out of their base64 as they were, however long they are."""

from __future__ import annotations

import base64
import json
import random

import pytest

from broker.dialects.ximilar.submission import PIECE, parse_submission
from broker.errors import Invalid


def bytes_of(text: str) -> bytes | None:
    raw = json.dumps({"type": "upscaler", "records": [{"_base64": text}]}).encode()
    return parse_submission(raw, lambda url: None).records[0].data


@pytest.mark.parametrize("size", [1, PIECE // 4 * 3 - 1, PIECE // 4 * 3, PIECE // 4 * 3 + 1, 3 * PIECE + 2])
def test_base64_is_read_whole_over_all_its_pieces(size: int) -> None:
    data = random.Random(size).randbytes(size)
    text = base64.b64encode(data).decode()
    assert bytes_of(text) == data
    assert bytes_of("\n".join(text[at : at + 76] for at in range(0, len(text), 76))) == data


@pytest.mark.parametrize("text", ["A" * (PIECE - 1) + "=AAAA", "A" * (PIECE - 2) + "==AAAA", "A" * PIECE + "AAA"])
def test_base64_with_an_end_amid_or_none_is_refused_at_the_seam_of_pieces_too(text: str) -> None:
    with pytest.raises(Invalid):
        bytes_of(text)
