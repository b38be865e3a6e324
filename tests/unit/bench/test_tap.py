"""What the taps of the crossings bench count."""

from __future__ import annotations

from collections import Counter

from bench.tap import Statements, Turns


def message(kind: bytes, payload: bytes) -> bytes:
    return kind + (len(payload) + 4).to_bytes(4, "big") + payload


def prepared(name: bytes, text: bytes) -> bytes:
    return message(b"P", name + b"\0" + text + b"\0\0\0")


def executed(name: bytes) -> bytes:
    return message(b"B", b"\0" + name + b"\0\0\0\0\0\0\0") + message(b"E", b"\0\0\0\0\0")


def query(text: bytes) -> bytes:
    return message(b"Q", text + b"\0")


def test_a_pipeline_is_one_round_trip_however_many_its_answers() -> None:
    counts: Counter[str] = Counter()
    turns = Turns(counts)
    turns.answered()  # a message of a subscription
    for _ in range(2):
        turns.asked(b"*1\r\n$4\r\nPING\r\n")
    turns.answered()
    turns.answered()
    turns.asked(b"*1\r\n$4\r\nPING\r\n")
    turns.answered()
    assert counts["turns"] == 2


def test_statements_count_for_the_kinds_of_their_transaction() -> None:
    sent = (
        message(b"", b"\0\3\0\0user\0postgres\0\0")
        + prepared(b"insert", b"INSERT INTO batches (id) VALUES ($1)")
        + prepared(b"claim", b"UPDATE batches SET status=$1::VARCHAR, lease_seq=(batches.lease_seq + $2::BIGINT)")
        + prepared(b"finish", b"UPDATE batches SET status=$1::VARCHAR, modified=$6::BIGINT, finished=$6::BIGINT FROM x")
        + prepared(b"beat", b"UPDATE batches SET lease_until=$1")
        + query(b"BEGIN;")
        + executed(b"insert") * 3
        + query(b"COMMIT;")
        + query(b"BEGIN;")
        + executed(b"claim")
        + executed(b"finish")
        + query(b"COMMIT;")
        + query(b"BEGIN;")
        + executed(b"beat")
        + query(b"ROLLBACK;")
        + executed(b"insert")  # a transaction by itself
        + query(b"SELECT 1;")
    )
    counts: Counter[str] = Counter()
    statements = Statements(counts)
    for at in range(len(sent)):
        statements.asked(sent[at : at + 1])
    assert counts == {
        "accept": 6,
        "accept transactions": 2,
        "claim": 4,
        "claim transactions": 1,
        "finish": 4,
        "finish transactions": 1,
        "other": 3,
        "other transactions": 1,
        "alone": 1,
        "alone transactions": 1,
    }
