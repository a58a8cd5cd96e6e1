"""Generation and metageneration preconditions, as pure functions.

The functions decide whether a request's preconditions hold for an object. `proxy.py` reads the object, and holds its
lock until the request has been handled. The rules follow https://cloud.google.com/storage/docs/request-preconditions.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True)
class Version:
    """Current version of an object. Both numbers are 0 if there is no object."""

    generation: int
    metageneration: int


ABSENT = Version(0, 0)


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """Preconditions of a request. None means no condition."""

    generation_match: int | None = None
    generation_not_match: int | None = None
    metageneration_match: int | None = None
    metageneration_not_match: int | None = None

    @classmethod
    def of(cls, parameters: Mapping[str, str], prefix: str = "if") -> Self:
        """Parse the query parameters of a request; with the prefix `ifSource`, those for the source of a copy.

        Raises:
            ValueError: a parameter is not a number.
        """

        def number(name: str) -> int | None:
            text = parameters.get(prefix + name)
            return int(text) if text else None

        return cls(
            generation_match=number("GenerationMatch"),
            generation_not_match=number("GenerationNotMatch"),
            metageneration_match=number("MetagenerationMatch"),
            metageneration_not_match=number("MetagenerationNotMatch"),
        )

    def demand_something(self) -> bool:
        """Return whether there is any condition to check."""
        return self != Conditions()

    def hold(self, now: Version) -> bool:
        """Return whether all conditions hold."""
        return self.match(now) and self.differ(now)

    def match(self, now: Version) -> bool:
        """Return whether the "match" conditions hold. Generation 0 means no object."""
        return self.generation_match in {None, now.generation} and self.metageneration_match in {
            None,
            now.metageneration,
        }

    def differ(self, now: Version) -> bool:
        """Return whether the "not match" conditions hold. If not, a read returns 304 instead of 412."""
        return now.generation != self.generation_not_match and now.metageneration != self.metageneration_not_match
