"""Whether a file fits into the scratch space; `test_compression.py` tests how large it is."""

import pytest

from txn_assets.files.scratch_space import SCRATCH_FACTOR, parse_size, refusal


@pytest.mark.parametrize(
    ("text", "size"),
    [("1000", 1000), ("8Gi", 8 << 30), ("500Mi", 500 << 20), ("1Ti", 1 << 40), ("64Ki", 64 << 10)]
    + [(text, None) for text in ("", "8G", "8 Gi", "Gi", "-1", "0", "8.5Gi", "٣", "8GiB")],
)
def test_sizes_use_kubernetes_notation(text: str, size: int | None) -> None:
    """Sizes use Kubernetes notation, so that volume and run take the same value."""
    assert parse_size(text) == size


def test_file_that_fits_is_not_refused() -> None:
    """A file that fits exactly is accepted."""
    assert refusal("a.csv", unpacked=100, before=0, available=int(100 * SCRATCH_FACTOR)) is None
    assert refusal("a.csv", unpacked=100, before=50, available=int(150 * SCRATCH_FACTOR)) is None


def test_refusal_has_the_numbers() -> None:
    """The refusal says what is needed, what is available, and what to do."""
    sentence = refusal("a.csv", unpacked=5 << 30, before=0, available=8 << 30)
    assert sentence is not None
    assert "a.csv" in sentence
    assert "needs about 12.5 GiB, 2.5 times its 5.0 GiB; the space is 8.0 GiB" in sentence
    assert refusal("a.csv", unpacked=100, before=51, available=int(150 * SCRATCH_FACTOR)) is not None
