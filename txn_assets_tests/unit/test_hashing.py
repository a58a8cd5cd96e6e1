"""Hashing: the known digest, one hash in Python and in SQL, and a key that is neither weak nor shown."""

import hashlib
import hmac
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from txn_assets.environment import ConfigError
from txn_assets.rows.duckdb_session import connect
from txn_assets.rows.hashing import Hasher, HashKeys
from txn_assets.sections.security import Hash, PreviousHash, Security
from txn_assets_tests.unit.rows import FIELDS, make_row

T001 = "e78d6e358171a045d54a628e52c664755d2003250e554d6490a2e3b5794d20a2"
KEYED = Security(hash=Hash(algorithm="hmac-sha256", key_id="2026-01"))
CONNECTION = connect(Path("unused"))

TEXTS = st.lists(st.none() | st.text(st.characters(codec="utf-8", exclude_characters="\0")), min_size=1, max_size=4)


def make(security: Security, key: str | None) -> Hasher:
    """Return the hasher of `security`."""
    return security.hash.hashers(security.pii_fields, HashKeys(key))[0]


def hashed(rows: pa.Table, hasher: Hasher) -> pa.Table:
    """Select `rows` with the query that hashes a file."""
    query = f"SELECT {hasher.select_list(FIELDS)} FROM rows"
    with CONNECTION.cursor() as cursor:
        return cursor.register("rows", rows).sql(query, params=dict(hasher.parameters())).to_arrow_table()


def by_sql(values: list[str | None], hasher: Hasher) -> list[str | None]:
    """Hash `values` as transaction ids with that query."""
    blank = pa.nulls(len(values), pa.string())
    rows = pa.table([pa.array(values, pa.string()), *[blank] * 4], names=list(FIELDS))
    return [row["transaction_id"] for row in hashed(rows, hasher).to_pylist()]


def test_plain_hash_is_what_readers_of_the_original_pipeline_expect() -> None:
    """The plain hash is hex SHA-256 of the UTF-8 bytes, as readers of the original pipeline expect."""
    assert make(Security(), None).hexdigest("T001") == T001


def test_keyed_hash_is_hmac() -> None:
    """The keyed hash is HMAC with SHA-256 (RFC 2104)."""
    key = "k" * 32
    expected = hmac.new(key.encode(), b"T001", hashlib.sha256).hexdigest()
    assert make(KEYED, key).hexdigest("T001") == expected


@given(TEXTS)
@example(["T001", None, "", "حلال", "\U0001f600", "'; --"])
@settings(max_examples=40, deadline=None)
def test_sql_gives_the_plain_hash(values: list[str | None]) -> None:
    """SQL and Python give the same hash, so that stored rows and quarantined rows match. Null stays null."""
    hasher = Hasher(("transaction_id",), None, "sha256")
    assert by_sql(values, hasher) == [None if value is None else hasher.hexdigest(value) for value in values]


@given(TEXTS, st.one_of(st.binary(min_size=32, max_size=150), st.sampled_from([b"k" * 63, b"k" * 64, b"k" * 65])))
@settings(max_examples=60, deadline=None)
def test_sql_gives_the_keyed_hash(values: list[str | None], key: bytes) -> None:
    """The keyed hash is right for keys up to the block size of SHA-256 and for longer ones, which are hashed first."""
    hasher = Hasher(("transaction_id",), key, "2026-01")
    assert by_sql(values, hasher) == [None if value is None else hasher.hexdigest(value) for value in values]


def test_only_configured_columns_are_hashed() -> None:
    """Only configured columns are hashed; the others are selected unchanged."""
    hasher = Hasher(("product",), None, "sha256")
    (row,) = hashed(pa.Table.from_pylist([make_row()]), hasher).to_pylist()
    assert row == make_row(product=hasher.hexdigest("Halal Laptop"))


def test_keyed_hasher_without_columns_binds_nothing() -> None:
    """A keyed hasher without columns binds no parameter, because a query refuses a value without a placeholder."""
    assert by_sql(["T001"], Hasher((), b"k" * 32, "2026-01")) == ["T001"]


def test_key_is_never_shown() -> None:
    """A hasher's key never appears in its repr, because a hasher may end up in a log or a traceback."""
    key = "0123456789abcdef0123456789abcdef"
    hasher = make(KEYED, key)
    assert key not in repr(hasher)
    assert key not in hasher.select_list(FIELDS)


@pytest.mark.parametrize(("key", "length"), [(None, 0), ("", 0), ("short", 5), ("k" * 31, 31)])
def test_missing_or_short_key_is_refused(key: str | None, length: int) -> None:
    """A missing or short key is refused with its length and a way to generate a better one, without showing the key."""
    with pytest.raises(ConfigError, match=f"TXN_HASH_KEY has {length} bytes: .* `openssl rand -hex 32`") as caught:
        make(KEYED, key)
    assert not key or key not in str(caught.value)


def test_key_without_a_name_is_refused() -> None:
    """A key without a name is refused, because the ledger could not tell a rotated key from the old one."""
    with pytest.raises(ConfigError, match=r"security\.hash\.key_id is missing"):
        make(Security(hash=Hash(algorithm="hmac-sha256")), "k" * 32)


def test_ledger_tells_keys_apart() -> None:
    """Plain and keyed hashes, and two keys, have different names in the ledger."""
    other = Security(hash=Hash(algorithm="hmac-sha256", key_id="2027-01"))
    assert [make(security, "k" * 32).key_id for security in (Security(), KEYED, other)] == [
        "sha256", "2026-01", "2027-01",
    ]  # fmt: skip


def test_key_of_any_bytes() -> None:
    """Non-UTF-8 bytes in the environment variable are part of the key unchanged."""
    raw = b"\xff\xfe" + b"k" * 30
    assert make(KEYED, raw.decode("utf-8", "surrogateescape")).key == raw


@pytest.mark.parametrize(
    ("previous", "key", "expected"),
    [
        (PreviousHash(key_id="2025-07"), "p" * 32, ["2026-01", "2025-07"]),
        (PreviousHash(algorithm="sha256"), None, ["2026-01", "sha256"]),
    ],
)
def test_previous_key_lives_beside_the_current_one(
    previous: PreviousHash, key: str | None, expected: list[str]
) -> None:
    """The current key comes first, and the previous hash may be the plain one."""
    hash_ = KEYED.hash.model_copy(update={"previous": previous})
    hashers = hash_.hashers(("transaction_id",), HashKeys("k" * 32, key))
    assert [hasher.key_id for hasher in hashers] == expected
    assert len({hasher.hexdigest("T001") for hasher in hashers}) == 2


@pytest.mark.parametrize(
    ("previous", "key", "message"),
    [
        (PreviousHash(key_id="2026-01"), "p" * 32, "both named '2026-01': give each key a name of its own"),
        (PreviousHash(key_id="2025-07"), "k" * 32, "TXN_HASH_KEY_PREVIOUS is the same key as TXN_HASH_KEY: set it"),
        (
            PreviousHash(key_id="2025-07"),
            "p" * 31,
            r"hash\.previous\..* but TXN_HASH_KEY_PREVIOUS has 31 bytes: set it",
        ),
        (PreviousHash(key_id="2025-07"), None, r"hash\.previous\..* but TXN_HASH_KEY_PREVIOUS has 0 bytes: set it"),
        (PreviousHash(), "p" * 32, r"security\.hash\.previous\.key_id is missing: give the key a name"),
        (
            PreviousHash(key_id="sha256"),
            "p" * 32,
            "'sha256', the name of the plain hash in the ledgers: choose another",
        ),
    ],
)
def test_previous_key_is_refused(previous: PreviousHash, key: str | None, message: str) -> None:
    """A previous key is refused if it is short, has no name, or cannot be told from the current one."""
    hash_ = KEYED.hash.model_copy(update={"previous": previous})
    with pytest.raises(ConfigError, match=message) as caught:
        hash_.hashers(("transaction_id",), HashKeys("k" * 32, key))
    assert not key or key not in str(caught.value)


def test_plain_hash_does_not_replace_itself() -> None:
    """Plain SHA-256 before and after is no rotation."""
    with pytest.raises(ConfigError, match="both named 'sha256'"):
        Hash(previous=PreviousHash(algorithm="sha256")).hashers((), HashKeys())


def test_plain_hash_needs_permission_on_gcp() -> None:
    """Where a key is required, the plain hash is refused unless the configuration allows it."""
    required = HashKeys(required=True)
    with pytest.raises(ConfigError, match=r"allow_unkeyed to true\.$") as caught:
        Hash().hashers((), required)
    assert "\n" not in str(caught.value)
    assert Hash(allow_unkeyed=True).hashers((), required)[0].key is None
    assert Hash(algorithm="hmac-sha256", key_id="k1").hashers((), HashKeys("k" * 32, required=True))[0].key
