"""Names of the objects derived from a landed file, and the limit on its name that keeps them short enough."""

from txn_assets.feeds.feed import Feed

MAX_OBJECT_NAME_BYTES = 1024
"""Maximum length of an object name in UTF-8. See https://cloud.google.com/storage/docs/objects#naming"""


def object_name(path: str, partition: str, file_format: str) -> str:
    """Return the name of a landed file's object in the data lake: `<path>/<partition without .csv>/processed.csv`."""
    return f"{path}/{partition.removesuffix('.csv')}/{_lake_file(file_format)}"


def is_lake_object(name: str, file_format: str) -> bool:
    """Return whether an object called `name` is a data lake object in the format `file_format`."""
    return name.endswith(f"/{_lake_file(file_format)}")


def lake_format(name: str) -> str | None:
    """Return the format of the data lake object called `name`, or None if it is not one."""
    return next((one for one in ("csv", "parquet") if is_lake_object(name, one)), None)


def _lake_file(file_format: str) -> str:
    return f"processed.{file_format}"


def quarantine_name(prefix: str, partition: str) -> str:
    """Return the name of the object with the rejected rows of a landed file."""
    return f"{prefix}/{partition}/{_REJECTED}"


def quarantined_file(prefix: str, name: str) -> str:
    """Return the landed file whose rejected rows the object `name` has."""
    return name.removeprefix(f"{prefix}/").removesuffix(f"/{_REJECTED}")


def is_quarantine_object(name: str) -> bool:
    """Return whether an object called `name` has the rejected rows of a landed file."""
    return name.endswith(f"/{_REJECTED}")


_REJECTED = "rejected.csv"


def archived_name(prefix: str, partition: str, generation: int) -> str:
    """Return the name of an archived version of a landed file; one name for each, so that none replaces another."""
    return f"{prefix}/{partition}@{generation}"


def archived_version(prefix: str, name: str) -> tuple[str, int] | None:
    """Return the file and the generation of the archived object called `name`; None for any other object."""
    partition, _, generation = name.removeprefix(f"{prefix}/").rpartition("@")
    return (partition, int(generation)) if partition and generation.isascii() and generation.isdigit() else None


def name_limit(feed: Feed) -> int:
    """Return the maximum length of a landed file's name in bytes, so that no derived name exceeds GCS's limit."""
    lake_object = object_name(feed.path, "", feed.lake_format)
    derived = (f"{feed.landing}/", quarantine_name(feed.quarantine, ""), lake_object)
    return MAX_OBJECT_NAME_BYTES - max(len(name.encode()) for name in derived)


def too_long(name: str, limit: int) -> str | None:
    """Return an error message if `name` has more than `limit` bytes; otherwise None."""
    size = len(name.encode())
    if size <= limit:
        return None
    return (
        f"The name {name[:40]!r}… has {size:,} bytes, and objects in the data lake or the quarantine that are named "
        f"after it would have more than the {MAX_OBJECT_NAME_BYTES:,} that GCS allows: "
        f"land the file under a name of at most {limit:,} bytes."
    )
