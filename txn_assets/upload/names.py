"""Choose the name under which an upload lands: the folder of its subject, and the client's name as one safe segment.

Names that differ only in characters that no file name needs become equal. Folders of two subjects never do.
"""

import datetime as dt
import hashlib
import re
import unicodedata

from txn_assets.feeds.feed import Feed
from txn_assets.files.arrival import FORBIDDEN_IN_KEYS, IGNORED_STARTS, SUFFIXES
from txn_assets.stores.landed_names import name_limit, too_long
from txn_assets.upload.problems import Problem

MAX_SEGMENT_BYTES = 200
"""Maximum length of a file name in UTF-8. File systems allow 255 bytes, and tools append to names."""

_PLAIN_SUBJECT = re.compile(r"[A-Za-z0-9][A-Za-z0-9@._+-]{0,63}")
_UNSAFE = frozenset('#[]*?:"<>|')
"""Characters that GCS's tools read as wildcards and versions, or that Windows refuses."""
_SPACES = re.compile(r"[\s\u2800]+")


def folder_of(subject: str) -> str:
    """Return the folder of `subject`, which differs from the folder of every other subject."""
    if _PLAIN_SUBJECT.fullmatch(subject) and ".." not in subject:
        return subject
    readable = re.sub(r"[^A-Za-z0-9@_+-]+", "-", subject).strip("-")[:32]
    # No plain subject has a tilde.
    return f"{readable or 'subject'}~{hashlib.sha256(subject.encode(errors='surrogatepass')).hexdigest()[:32]}"


def segment_of(sent: str) -> str:
    """Return the file name in `sent`, which may be a path, without unsafe characters; '' if nothing is left."""
    base = re.split(r"[/\\]", unicodedata.normalize("NFC", sent))[-1]
    # Categories C are control, format (which reorders text), surrogate, private and unassigned characters.
    visible = "".join(
        " " if unicodedata.category(one) in {"Cc", "Zl", "Zp"} else one
        for one in base
        if unicodedata.category(one) not in {"Cf", "Cs", "Co", "Cn"}
    )
    plain = "".join("_" if one in _UNSAFE else one for one in _SPACES.sub(" ", visible))
    return re.sub(r"\.{2,}", ".", plain).strip(" ").lstrip("".join(IGNORED_STARTS) + " ")


def landed_name(subject: str, sent: str, feed: Feed, now: dt.datetime) -> str:
    """Return the name under which the file `sent` of `subject` lands at `now`.

    Raises:
        Problem: the name has no ending that the platform loads, or is too long.
    """
    segment = segment_of(sent)
    if not segment.lower().endswith(SUFFIXES) or segment.lower() in {suffix[1:] for suffix in SUFFIXES}:
        raise Problem(
            422,
            f"The file needs a name that ends in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}: "
            "set the parameter 'name', or the file name of the form's part.",
        )
    if len(segment.encode()) > MAX_SEGMENT_BYTES:
        raise Problem(422, f"The name of the file has more than {MAX_SEGMENT_BYTES} bytes: choose a shorter one.")
    name = f"{_dates(feed, now)}{folder_of(subject)}/{segment}"
    assert not any(part in name for part in FORBIDDEN_IN_KEYS)
    if refusal := too_long(name, name_limit(feed)):
        raise Problem(422, refusal)
    return name


def belongs_to(name: str, subject: str, feed: Feed) -> bool:
    """Return whether `name` is one that `landed_name` gives to a file of `subject`."""
    above, _, segment = name.rpartition("/")
    folder = folder_of(subject)
    return bool(segment) and above.endswith(folder) and _is_date(above.removesuffix(folder), feed)


def _dates(feed: Feed, now: dt.datetime) -> str:
    return now.strftime(feed.landing_dates)


def _is_date(text: str, feed: Feed) -> bool:
    if not feed.landing_dates:
        return not text
    try:
        return dt.datetime.strptime(text, feed.landing_dates).strftime(feed.landing_dates) == text  # noqa: DTZ007 - a date
    except ValueError:
        return False
