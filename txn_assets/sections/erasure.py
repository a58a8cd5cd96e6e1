"""How a person is erased: where the requests are, and what becomes of the landed files."""

from typing import Literal

from pydantic import Field

from txn_assets.feeds.section import Prefix, Section


class Erasure(Section):
    """Where the erasure requests are, and what becomes of the landed files that have the person's rows."""

    path: Prefix = Field(
        default="erasures", description="Prefix of the requests, `<feed>/requests.json`: hashes of persons, no values."
    )
    landing: Literal["rewrite", "delete", "keep"] = Field(
        default="rewrite",
        description="A landed file with rows of the person is landed again without them (`rewrite`), deleted, or kept: "
        "then the landing zone still has the person in clear text.",
    )
