"""The kinds of values that a column can have, one module each. To add one, write a module and add it to `KINDS`."""

from collections.abc import Mapping

from txn_assets.rows.kinds.boolean import BooleanKind
from txn_assets.rows.kinds.date import DateKind
from txn_assets.rows.kinds.enumeration import EnumerationKind
from txn_assets.rows.kinds.exact import DecimalKind, MoneyKind
from txn_assets.rows.kinds.kind import FieldRules, Kind
from txn_assets.rows.kinds.text import IdentifierKind, TextKind
from txn_assets.rows.kinds.timestamp import TimestampKind
from txn_assets.rows.kinds.whole import WholeKind

__all__ = [
    "KINDS",
    "BooleanKind",
    "DateKind",
    "DecimalKind",
    "EnumerationKind",
    "FieldRules",
    "IdentifierKind",
    "Kind",
    "MoneyKind",
    "TextKind",
    "TimestampKind",
    "WholeKind",
]

KINDS: Mapping[str, type[Kind]] = {
    kind.name: kind
    for kind in (
        TextKind,
        IdentifierKind,
        MoneyKind,
        WholeKind,
        DecimalKind,
        DateKind,
        TimestampKind,
        BooleanKind,
        EnumerationKind,
    )
}
"""All kinds, by the name that a configuration uses."""
