"""Read a mart and what it was computed from, and compare both engines: what the check `marts_agree` does.

`agreement.py` has the pure part. See docs/marts.md.
"""

from dataclasses import dataclass
from itertools import chain

from txn_assets.marts import agreement
from txn_assets.marts.engines import Marts
from txn_assets.marts.mart import Engine, Mart, MartVersion
from txn_assets.stores.registry import STORES

LOOKS = 3
"""Maximum number of times to read a mart that is refreshed meanwhile."""

_LABELS = {entry.key: entry.label for entry in STORES}


@dataclass(frozen=True, slots=True)
class Comparison:
    """What is wrong with a mart, a sentence each.

    Attributes:
        is_certain: whether both engines were computed from the same files, and not refreshed while they were read.
    """

    wrong: list[str]
    is_certain: bool = True


def compare(marts: Marts, mart: Mart) -> Comparison:
    """Compare `mart` with what its engines recorded at its refresh, and the engines with each other.

    Raises:
        StoreError: an engine cannot be read.
    """
    for _ in range(LOOKS):
        versions = _versions(marts, mart)
        found = _compare(marts, mart, versions)
        # Versions and rows are read one after the other, so a refresh in between looks like a difference.
        if not found.wrong or _versions(marts, mart) == versions:
            return found
    return Comparison([f"{mart.name} was refreshed while it was read: run the check again."], is_certain=False)


def _versions(marts: Marts, mart: Mart) -> dict[Engine, MartVersion | None]:
    return {engine: marts.of(engine).version(mart) for engine in mart.engines}


def _compare(marts: Marts, mart: Mart, versions: dict[Engine, MartVersion | None]) -> Comparison:
    if missing := [engine for engine, version in versions.items() if version is None]:
        return Comparison([f"{mart.name} has never been computed in {_LABELS[one]}: refresh it." for one in missing])
    totals = {engine: marts.of(engine).totals(mart) for engine in mart.engines}
    found = [
        f"{_LABELS[engine]}: {sentence}"
        for engine, version in versions.items()
        for sentence in (agreement.ledger_differences(mart, version, totals[engine]) if version else ())
    ]
    postgres, bigquery = versions.get("postgres"), versions.get("bigquery")
    if found or not postgres or not bigquery:
        return Comparison(found)
    if differences := agreement.version_differences(mart, postgres, bigquery):
        return Comparison(differences, is_certain=False)
    is_exact = not any(marts.of(engine).store.inexact_columns() for engine in mart.engines)
    rows = [chain.from_iterable(marts.of(engine).stream(mart)) for engine in ("postgres", "bigquery")]
    found = agreement.total_differences(mart, totals["postgres"], totals["bigquery"], is_exact=is_exact)
    return Comparison([*found, *agreement.row_differences(mart, rows[0], rows[1], is_exact=is_exact)])
