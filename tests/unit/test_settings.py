"""Settings: read from the environment, each bad value refused in words that name its setting."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import pytest

from broker.errors import Misconfigured
from broker.settings import Settings, load, unknown_names

FLOATS = sorted(name for name, field in Settings.model_fields.items() if field.annotation is float)
INTEGERS = sorted(name for name, field in Settings.model_fields.items() if field.annotation is int)


def environment(monkeypatch: pytest.MonkeyPatch, **values: str) -> None:
    for name, value in values.items():
        monkeypatch.setenv(f"BROKER_{name.upper()}", value)


def test_the_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    environment(
        monkeypatch,
        data_dir="/var/lib/broker",
        database_url="postgresql://db/broker",
        port="0",
        lease_seconds="2.5",
        log_format="json",
    )
    settings = load()
    assert settings.data_dir == Path("/var/lib/broker")
    assert not settings.embedded_database
    assert (settings.port, settings.lease_seconds, settings.log_format) == (0, 2.5, "json")


def test_the_command_line_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    environment(monkeypatch, port="1")
    assert load(port=2).port == 2


def test_unknown_names_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    environment(monkeypatch, no_such_setting="1")
    load()


def test_nothing_set_means_the_embedded_database_without_keys() -> None:
    settings = load()
    assert settings.embedded_database
    assert settings.keys == ()
    assert settings.ports == {80, 443, 8080, 8443}
    assert settings.webhook_pauses == (0, 5, 300, 1800, 7200, 18000, 36000, 36000)


def test_settings_do_not_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load().port = 1


@pytest.mark.parametrize(
    ("written", "read"),
    [("", ()), (" , ,", ()), ("10.0.0.0/8", ("10.0.0.0/8",)), (" 10.0.0.0/8 ,fd00::/8, ", ("10.0.0.0/8", "fd00::/8"))],
)
def test_lists_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch, written: str, read: tuple[str, ...]) -> None:
    environment(monkeypatch, allow_networks=written, trusted_proxies=written)
    settings = load()
    assert settings.allow_networks == settings.trusted_proxies == read
    assert settings.networks == settings.proxies == tuple(map(ipaddress.ip_network, read))


def test_open_hosts_are_compared_in_lower_case_without_the_last_dot(monkeypatch: pytest.MonkeyPatch) -> None:
    environment(monkeypatch, allow_hosts="MinIO.internal., localhost,s3-1,xn--4ca.test")
    assert load().hosts == {"minio.internal", "localhost", "s3-1", "xn--4ca.test"}


def test_keys_are_separated_by_commas_the_writing_one_first(monkeypatch: pytest.MonkeyPatch) -> None:
    environment(monkeypatch, secret_key=" new , old,,")
    assert load().keys == ("new", "old")


def test_the_secret_key_does_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    environment(monkeypatch, secret_key="hush-hush")
    assert "hush" not in f"{load()!r}{load()}{load().model_dump_json()}"


@pytest.mark.parametrize(("written", "read"), [("", ""), ("https://b.example", "https://b.example")])
def test_the_public_url_is_a_base(monkeypatch: pytest.MonkeyPatch, written: str, read: str) -> None:
    environment(monkeypatch, public_url=written)
    assert load().public_url == read


@pytest.mark.parametrize("written", ["http://b.example:81/broker", "http://b.example:81/broker/"])
def test_a_slash_at_the_end_of_the_public_url_is_dropped(monkeypatch: pytest.MonkeyPatch, written: str) -> None:
    environment(monkeypatch, public_url=written)
    assert load().public_url == "http://b.example:81/broker"


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        *[("allow_networks", bad) for bad in ("10.0.0.1/8", "10.0.0.0/33", "example.com", "10.0.0.0/8,nonsense")],
        *[("trusted_proxies", bad) for bad in ("::1/64", "localhost")],
        *[
            ("allow_hosts", bad)
            for bad in ("10.0.0.1", "::1", "10.1", "0x7f", "a.0x7f.", "*.test", "a:80", "http://a", "a..b")
        ],
        *[("allow_hosts", bad) for bad in ("ä.test", "a b", ".", "a,b,1", "a" * 64)],
        *[("allow_ports", bad) for bad in ("0", "65536", "-1", "http", "80,8o80", "80.0", "٨٠")],
        *[("webhook_schedule", bad) for bad in ("", "-1", "604801", "nan", "inf", "soon", "0,,x")],
        *[("public_url", bad) for bad in ("b.example", "ftp://b", "https://", "http://b/?a=1", "http://b/#x", "//b")],
        ("public_url", "http://[::1"),
        *[("port", bad) for bad in ("-1", "65536", "eighty", "")],
        *[("log_format", bad) for bad in ("yaml", "")],
        ("log_level", "loud"),
        ("max_body_bytes", "1023"),
        ("max_image_bytes", "1023"),
        ("max_image_pixels", "0"),
        ("max_output_pixels", "0"),
        ("max_queued", "0"),
        ("min_free_bytes", "-1"),
        ("lease_seconds", "0.4"),
        ("max_tries", "0"),
        *[("max_crashes", bad) for bad in ("-1", "0", "1")],
        ("worker_batches", "0"),
        ("worker_batches", "1001"),
        ("worker_threads", "-1"),
        ("grace_seconds", "-1"),
        ("fetch_timeout", "0"),
        ("fetch_pause", "-0.1"),
        ("webhook_timeout", "0"),
        ("output_hours", "0"),
    ],
)
def test_a_bad_value_names_its_setting(monkeypatch: pytest.MonkeyPatch, name: str, bad: str) -> None:
    environment(monkeypatch, **{name: bad})
    with pytest.raises(Misconfigured, match=f"BROKER_{name.upper()}: "):
        load()


@pytest.mark.parametrize("bad", ["nan", "inf", "-inf", "1e999", "one"])
@pytest.mark.parametrize("name", FLOATS)
def test_a_duration_is_a_finite_number(monkeypatch: pytest.MonkeyPatch, name: str, bad: str) -> None:
    environment(monkeypatch, **{name: bad})
    with pytest.raises(Misconfigured, match=f"BROKER_{name.upper()}: "):
        load()


@pytest.mark.parametrize("bad", ["1.5", "1e3x", "0x10", "one"])
@pytest.mark.parametrize("name", INTEGERS)
def test_a_count_is_a_whole_number(monkeypatch: pytest.MonkeyPatch, name: str, bad: str) -> None:
    environment(monkeypatch, **{name: bad})
    with pytest.raises(Misconfigured, match=f"BROKER_{name.upper()}: "):
        load()


def test_one_crash_does_not_tell_the_guilty_from_its_neighbours() -> None:
    """A dead worker may have held many batches; at 1, each of a single record would be given up."""
    with pytest.raises(Misconfigured, match="at least 2: a worker that dies takes down all that it runs"):
        load(max_crashes=1)
    assert load(max_crashes=2).max_crashes == 2


def test_all_bad_values_are_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    environment(monkeypatch, port="x", max_tries="0", public_url="ftp://x")
    with pytest.raises(Misconfigured) as refusal:
        load()
    for name in ("PORT", "MAX_TRIES", "PUBLIC_URL"):
        assert f"BROKER_{name}: " in refusal.value.message


def test_a_bad_value_is_not_repeated_where_it_may_be_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    environment(monkeypatch, public_url="ftp://user:password@b")
    with pytest.raises(Misconfigured) as refusal:
        load()
    assert "password" not in refusal.value.message


@pytest.mark.parametrize(
    ("schedule", "hours", "fits"),
    [("0", "24", True), ("0", "23.9", False), ("0,36000", "36", True), ("0,36000", "35.9", False)],
)
def test_outputs_outlive_the_last_webhook_by_a_day(
    monkeypatch: pytest.MonkeyPatch, schedule: str, hours: str, fits: bool
) -> None:
    environment(monkeypatch, webhook_schedule=schedule, output_hours=hours)
    if fits:
        assert load().output_hours == float(hours)
        return
    with pytest.raises(Misconfigured, match="OUTPUT_HOURS"):
        load()


def test_a_name_that_is_no_setting_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BROKER_LEASE_SECOND", "BROKER_URL", "BROKER_TOKEN", "BROKER_PORT"):
        monkeypatch.setenv(name, "1")
    assert unknown_names() == ["BROKER_LEASE_SECOND"]


@pytest.mark.parametrize("url", ["nonsense", "http://host", "localhost:6379"])
def test_a_redis_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(Misconfigured, match="BROKER_REDIS_URL"):
        load(redis_url=url)
