"""Generation and metageneration preconditions, as pure functions.

Here belongs whether a request holds against the object as it is. Reading the object, and keeping it as it is until the
request was carried out, belongs to `proxy.py`.
The rules are those of https://cloud.google.com/storage/docs/request-preconditions.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True)
class Version:
    """An object as it is now. Both numbers are 0 if there is none."""

    generation: int
    metageneration: int


ABSENT = Version(0, 0)


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """What a request demands. None demands nothing."""

    generation_match: int | None = None
    generation_not_match: int | None = None
    metageneration_match: int | None = None
    metageneration_not_match: int | None = None

    @classmethod
    def of(cls, parameters: Mapping[str, str], prefix: str = "if") -> Self:
        """Read the query parameters of a request; with the prefix `ifSource`, those of a copy's source.

        Raises:
            ValueError: one is not a number.
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
        """Tell whether the object has to be looked at, at all."""
        return self != Conditions()

    def hold(self, now: Version) -> bool:
        """Tell whether the request may be carried out."""
        return self.match(now) and self.differ(now)

    def match(self, now: Version) -> bool:
        """Tell whether the conditions hold that ask for a certain version. Generation 0 stands for no object."""
        return self.generation_match in {None, now.generation} and self.metageneration_match in {
            None,
            now.metageneration,
        }

    def differ(self, now: Version) -> bool:
        """Tell whether the conditions hold that ask for any version but one. A read then answers 304, not 412."""
        return now.generation != self.generation_not_match and now.metageneration != self.metageneration_not_match
