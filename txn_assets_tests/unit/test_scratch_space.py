"""How much scratch space a file needs: estimated from its size, and from its first bytes if it is compressed."""

import gzip
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from txn_assets.files.scratch_space import HEAD_BYTES, SCRATCH_FACTOR, parse_size, refusal, unpacked_size


def csv_of(rows: int) -> bytes:
    """Return typical rows, which compress the way ids and prices do."""
    drawn = random.Random(1)
    lines = (
        f"T{drawn.randrange(10**9)},Halal Mouse,{drawn.randrange(9999)}.99,2,2024-01-0{n % 9 + 1}\n"
        for n in range(rows)
    )
    return "".join(lines).encode()


@pytest.mark.parametrize(
    ("text", "size"),
    [("1000", 1000), ("8Gi", 8 << 30), ("500Mi", 500 << 20), ("1Ti", 1 << 40), ("64Ki", 64 << 10)]
    + [(text, None) for text in ("", "8G", "8 Gi", "Gi", "-1", "0", "8.5Gi", "٣", "8GiB")],
)
def test_sizes_use_kubernetes_notation(text: str, size: int | None) -> None:
    """Sizes use Kubernetes notation, so that volume and run take the same value."""
    assert parse_size(text) == size


def test_plain_file_counts_with_its_size() -> None:
    """A plain file counts with its size, whatever its first bytes."""
    assert unpacked_size(10**9, b"transaction_id,product") == unpacked_size(10**9, b"") == 10**9


@pytest.mark.parametrize("members", [1, 2, 30])
def test_compressed_file_is_estimated(members: int) -> None:
    """A compressed file is estimated, even if it has several members and the first holds only a header."""
    content = csv_of(60_000)
    size = len(content) // members
    parts = [content[n * size : (n + 1) * size] for n in range(members)]
    packed = gzip.compress(b"header\n") + b"".join(gzip.compress(part) for part in parts)
    assert unpacked_size(len(packed), packed[:HEAD_BYTES]) == pytest.approx(len(content), rel=0.05)


def test_head_that_expands_enormously_is_not_fully_unpacked() -> None:
    """A head that expands enormously is not fully unpacked, so that a hostile file costs no memory."""
    packed = gzip.compress(b"0" * (64 << 20))
    assert unpacked_size(len(packed), packed) > 50 << 20


@given(st.binary(max_size=200), st.integers(0, 10))
def test_damage_is_left_to_the_reader(rest: bytes, cut: int) -> None:
    """Whatever follows the gzip magic, the estimate is no smaller than the file."""
    for head in (b"\x1f\x8b" + rest, gzip.compress(rest)[:-cut]):
        assert unpacked_size(len(head), head) >= len(head)


def test_file_that_fits_is_not_refused() -> None:
    """A file that fits exactly is accepted."""
    assert refusal("a.csv", unpacked=100, before=0, available=100 * SCRATCH_FACTOR) is None
    assert refusal("a.csv", unpacked=100, before=50, available=150 * SCRATCH_FACTOR) is None


def test_refusal_has_the_numbers() -> None:
    """The refusal says what is needed, what is available, and what to do."""
    sentence = refusal("a.csv", unpacked=4 << 30, before=0, available=8 << 30)
    assert sentence is not None
    assert "a.csv" in sentence
    assert "needs about 12.0 GiB, 3 times its 4.0 GiB; the space is 8.0 GiB" in sentence
    assert refusal("a.csv", unpacked=100, before=51, available=150 * SCRATCH_FACTOR) is not None
