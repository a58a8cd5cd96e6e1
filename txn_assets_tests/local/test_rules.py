"""The shim's rules without a server, and the stack's without a process."""

from pathlib import Path

import pytest

from txn_assets.local import ports
from txn_assets.local.endpoints import Endpoints
from txn_assets.local.gcs_shim.preconditions import ABSENT, Conditions, Version
from txn_assets.local.gcs_shim.uploads import BadRequestError, ContentRange, metadata_of_related
from txn_assets.local.home import Home, write_json

NOW = Version(generation=7, metageneration=2)


@pytest.mark.parametrize(
    ("parameters", "now", "holds"),
    [
        ({}, NOW, True),
        ({"ifGenerationMatch": "7"}, NOW, True),
        ({"ifGenerationMatch": "6"}, NOW, False),
        ({"ifGenerationMatch": "0"}, NOW, False),
        ({"ifGenerationMatch": "0"}, ABSENT, True),
        ({"ifGenerationMatch": "7"}, ABSENT, False),
        ({"ifGenerationNotMatch": "7"}, NOW, False),
        ({"ifGenerationNotMatch": "6"}, NOW, True),
        ({"ifGenerationNotMatch": "0"}, ABSENT, False),
        ({"ifMetagenerationMatch": "1"}, NOW, False),
        ({"ifMetagenerationNotMatch": "2"}, NOW, False),
        ({"ifGenerationMatch": "7", "ifMetagenerationMatch": "2"}, NOW, True),
    ],
)
def test_conditions(parameters: dict[str, str], now: Version, holds: bool) -> None:
    """A condition holds or not, and generation 0 means that there is no object."""
    assert Conditions.of(parameters).hold(now) is holds
    assert Conditions.of(parameters).demand_something() is bool(parameters)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, ContentRange(0, None)),
        ("bytes 0-9/10", ContentRange(0, 10)),
        ("bytes 10-19/*", ContentRange(10, None)),
        ("bytes */20", ContentRange(None, 20)),
        ("bytes */*", ContentRange(None, None)),
    ],
)
def test_content_range(header: str | None, expected: ContentRange) -> None:
    """Each form of the header that a client sends with a chunk or a status query is parsed."""
    assert ContentRange.of(header) == expected


def test_invalid_content_range_is_refused() -> None:
    """A header in any other form is refused instead of guessed at."""
    with pytest.raises(BadRequestError, match="items 0-1"):
        ContentRange.of("items 0-1/2")


@pytest.mark.parametrize("boundary", ["b", '"b"', "'b'"])
def test_metadata_of_a_multipart_upload(boundary: str) -> None:
    """The object's name is found however a client quotes the boundary."""
    head = b'--b\r\nContent-Type: application/json\r\n\r\n{"name": "a"}\r\n--b\r\nContent-Type: text/csv\r\n\r\n1,2'
    assert metadata_of_related(f"multipart/related; boundary={boundary}", head) == {"name": "a"}


def test_previous_ports_are_kept_while_they_are_free() -> None:
    """The same ports come back, each name has its own, and a port outside our range is not reused."""
    first = ports.choose(("a", "b"), {})
    assert ports.choose(("a", "b"), first) == first
    again = ports.choose(("a", "b"), {"a": first["a"], "b": first["a"]})
    assert again["a"] == first["a"] != again["b"]
    assert ports.choose(("a",), {"a": 80}) != {"a": 80}


def test_dsn_is_quoted() -> None:
    """Any user, password and database name make one URI."""
    endpoints = Endpoints(
        gcs_url="",
        bigquery_url="",
        issuer_url="",
        postgres_host="127.0.0.1",
        postgres_port=5432,
        postgres_user="a b",
        postgres_password="p@ss/word",
        postgres_dbname="d?b",
    )
    assert endpoints.postgres_dsn == "postgresql://a%20b:p%40ss%2Fword@127.0.0.1:5432/d%3Fb"


def test_failed_write_leaves_the_state_unchanged(tmp_path: Path) -> None:
    """State files are replaced completely or not at all."""
    state = Home(tmp_path).state
    write_json(state, {"a": 1})
    with pytest.raises(TypeError):
        write_json(state, {"a": object()})
    assert [path.name for path in tmp_path.iterdir()] == ["stack.json"]
    assert '"a": 1' in state.read_text()
