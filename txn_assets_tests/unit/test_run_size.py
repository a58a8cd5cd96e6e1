"""Size classes of run pods: which one a run gets, and what its tags say."""

import json
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from txn_assets.feeds.run_size import DEFAULT_SIZES, EXPANSION, K8S_TAG, RUNTIME_TAG, SIZE_TAG, RunSize, size_tags
from txn_assets.files.ledger import FileVersion
from txn_assets.files.scratch_space import SCRATCH_FACTOR, refusal

GIB = 1 << 30


def version(size: int, name: str = "a.csv") -> FileVersion:
    """Return a version of a file of `size` bytes."""
    return FileVersion(name, 1, size, "")


@given(st.lists(st.integers(0, 4 * GIB), min_size=1, max_size=5))
def test_run_fits_into_its_class(sizes: list[int]) -> None:
    """The run of some files gets the smallest class that would not refuse them, or the largest."""
    tags = size_tags([version(size) for size in sizes], DEFAULT_SIZES)
    chosen = next(size for size in DEFAULT_SIZES if size.name == tags[SIZE_TAG])
    check = partial(refusal, "a", unpacked=sum(sizes), before=0)
    roomy = [size for size in DEFAULT_SIZES if not check(available=size.scratch_bytes)]
    assert chosen == (roomy[0] if roomy else DEFAULT_SIZES[-1])


@pytest.mark.parametrize("name", ["a.csv.gz", "A.ZIP", "a.zst"])
def test_compressed_file_counts_as_expanded(name: str) -> None:
    """A compressed file gets the class of a file that is ten times as large."""
    size = int(GIB / SCRATCH_FACTOR / 2)
    assert size_tags([version(size, name)], DEFAULT_SIZES) == size_tags([version(size * EXPANSION)], DEFAULT_SIZES)
    assert size_tags([version(size, name)], DEFAULT_SIZES) != size_tags([version(size)], DEFAULT_SIZES)


def test_hundred_million_rows_fit_the_largest_class() -> None:
    """A file of 100 million rows of 47 bytes is not refused in the largest class, and is in the next smaller one."""
    tags = size_tags([version(47 * 100_000_000)], DEFAULT_SIZES)
    assert tags[SIZE_TAG] == DEFAULT_SIZES[-1].name
    assert refusal("a", unpacked=4_700_000_000, before=0, available=DEFAULT_SIZES[-1].scratch_bytes) is None


def test_tags() -> None:
    """The tags have resources, the scratch limit and the longest time; without classes there are none."""
    tags = RunSize(name="huge", scratch="500Mi", cpu="1500m", memory="3Gi", hours=3).tags()
    container = json.loads(tags[K8S_TAG])["container_config"]
    disk = str((500 << 20) + (2 << 30))
    assert container["resources"]["limits"] == {"cpu": "1500m", "memory": "3Gi", "ephemeral-storage": disk}
    assert container["env"] == [{"name": "TXN_SCRATCH_LIMIT", "value": "500Mi"}]
    assert (tags[RUNTIME_TAG], tags[SIZE_TAG]) == ("10800", "huge")
    assert size_tags([version(1)], ()) == {}


@pytest.mark.parametrize("wrong", [{"scratch": "much"}, {"scratch": "0"}, {"cpu": "-1"}, {"memory": "2GB"}])
def test_wrong_class(wrong: dict[str, str]) -> None:
    """A class whose numbers Kubernetes would refuse is refused with the configuration."""
    with pytest.raises(ValidationError):
        RunSize.model_validate({"name": "a", "scratch": "1Gi"} | wrong)
