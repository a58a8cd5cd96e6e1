"""The columns of the ledgers of a feed, which follow from its row contract."""

from txn_assets.files import ledger_columns as columns
from txn_assets.rows.contract import RowContract
from txn_assets.rows.kinds import DecimalKind


def ledger_columns(contract: RowContract) -> tuple[columns.LedgerColumn, ...]:
    """Return the columns that a load writes to a ledger."""
    kinds = {name: contract.kinds[name] for name in contract.summed}
    return columns.ledger_columns(
        {name: kind.scale if isinstance(kind, DecimalKind) else 0 for name, kind in kinds.items()}
    )
