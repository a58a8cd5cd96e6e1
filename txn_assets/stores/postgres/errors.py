"""Classify PostgreSQL errors: decide whether a retry may succeed, and which message to show.

Messages name columns and constraints, but never the values that PostgreSQL quotes in the details of an error.
SQLSTATEs: https://www.postgresql.org/docs/current/errcodes-appendix.html
"""

import re
from collections.abc import Iterable

import psycopg
from psycopg import sql

from txn_assets.stores.postgres import sql as statements
from txn_assets.stores.postgres.sql import Table
from txn_assets.stores.postgres.tls import certificate_fault

_TRANSIENT = ("08", "40001", "40P01", "53300", "55P03", "57P")
"""SQLSTATEs: lost connection, serialization failure, deadlock, too many connections, lock timeout, shutdown."""

_REMEDIES = {
    "28": "Check the user in data_warehouse.postgres and the password in TXN_PG_PASSWORD.",
    "3D000": "Create the database, or correct data_warehouse.postgres.dbname.",
    "53100": "Free disk space on the server and run this again.",
}
_CONNECT_REMEDIES = {
    "password authentication failed": _REMEDIES["28"],
    "does not exist": "Check dbname and user in data_warehouse.postgres.",
    "no pg_hba.conf entry": "Let the server accept this host, user and database with TLS.",
    "server does not support SSL": "Turn on TLS at the server (`ssl = on`): data_warehouse.postgres.sslmode or "
    "security.encryption requires it.",
    "root certificate file": "Set PGSSLROOTCERT to the file with the CA of the server's certificate.",
    "server certificate for": "Set data_warehouse.postgres.host to a name in the certificate, or give the server a "
    "certificate for this host.",
    "certificate verify failed": "Set PGSSLROOTCERT to the file with the CA of the server's certificate.",
    "certificate": "Check sslmode in data_warehouse.postgres and the root certificate (PGSSLROOTCERT).",
    "could not translate host name": "Check data_warehouse.postgres.host.",
}
_REFUSALS = re.compile("|".join(_CONNECT_REMEDIES))
_RENEW = {
    "certificate has expired": "Renew the certificate of the server: it has expired.",
    "certificate is not yet valid": "The certificate of the server is not valid yet: correct the clock of the server "
    "that issued it, or of this machine.",
}

_REFUSED_VALUE = ("22", "42804")
"""SQLSTATEs of data exceptions and a type mismatch: the column does not accept a value."""
_VALUES = re.compile(r'".*"|0x[0-9a-f].*', re.DOTALL)
"""What data exceptions quote: a value, or the bytes of one."""
_CONSTRAINTS = ("23503", "23505", "23514", "23P01")
"""SQLSTATEs of foreign key, unique, check and exclusion constraints."""


def is_transient(error: psycopg.Error) -> bool:
    """Return whether a retry may succeed."""
    if error.sqlstate:
        return error.sqlstate.startswith(_TRANSIENT)
    # libpq gives no SQLSTATE while connecting.
    return isinstance(error, psycopg.OperationalError) and not _REFUSALS.search(str(error))


def explain(error: psycopg.Error, table: Table) -> str:
    """Return a message that says what is wrong and what to do."""
    return f"PostgreSQL table {table} cannot be loaded: {primary(error)}. {_remedy(error, table)}".strip()


def explain_denial(error: psycopg.Error, table: Table, grants: list[sql.Composed]) -> str:
    """Return a message for a missing privilege, with the statements that grant it."""
    script = statements.script(grants)
    return f"PostgreSQL table {table} cannot be loaded: {primary(error)}. The owner of the table can run: {script}"


def explain_missing(error: psycopg.Error, table: Table, role: str, missing: list[sql.Composed]) -> str:
    """Return a message for a `role` that may not create what is `missing`, with the statements for the owner to run."""
    script = statements.script([*missing, *statements.grants(table, role)])
    return (
        f"PostgreSQL table {table} cannot be loaded: role {role} may not create what is missing ({primary(error)}). "
        f"The owner of the table, or of the database, can run: {script}"
    )


def copied_column(context: str | None, columns: Iterable[str]) -> str | None:
    """Return which of `columns` COPY was filling, from the context of an error.

    The context is `COPY table, line 1, column amount`, in the language of the server, and then a colon and the value.
    """
    match = re.search(rf", [^,:]+ ({'|'.join(columns)})\s*$", (context or "").partition(":")[0])
    return match[1] if match else None


def primary(error: psycopg.Error) -> str:
    """Return what PostgreSQL says in the first place, without values; the detail and the context quote rows."""
    said = error.diag.message_primary
    if said is None:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        # libpq may add advice in further lines.
        return next((line for line in lines if not error.sqlstate and _REFUSALS.search(line)), lines[-1])
    return _VALUES.sub("...", said) if (error.sqlstate or "").startswith("22") else said


def _remedy(error: psycopg.Error, table: Table) -> str:
    state = error.sqlstate or ""
    if not state and (refusal := _REFUSALS.search(str(error))):
        fault = certificate_fault(error.pgconn) if refusal[0] == "certificate verify failed" and error.pgconn else ""
        return _RENEW.get(fault) or _CONNECT_REMEDIES[refusal[0]]
    if state.startswith(_REFUSED_VALUE):
        return _widen(error, table)
    if state == "23502":
        return _allow_null(error.diag.column_name or "", table)
    if state in _CONSTRAINTS:
        return _drop_constraint(error, table)
    if state == "42P10":
        primary_key = sql.SQL("ALTER TABLE {} ADD PRIMARY KEY (source_file, generation)").format(table.ledger)
        return (
            f"The ledger has lost its primary key. The owner of the table can run: {statements.script([primary_key])}"
        )
    return next((text for start, text in _REMEDIES.items() if state.startswith(start)), "")


def _widen(error: psycopg.Error, table: Table) -> str:
    column = copied_column(error.diag.context, table.columns)
    if column is None:
        return "A column cannot hold a value of the file: give the table the types of docs/operations.md."
    script = statements.script([statements.change_type(table, column, table.columns[column])])
    return f'Column "{column}" cannot hold a value of the file. The owner of the table can run: {script}'


def _allow_null(column: str, table: Table) -> str:
    nullable = statements.script([statements.allow_null(table.data, [column])])
    choice = (
        f"Add it to {table.feed.required_key}, or"
        if column in table.contract.names
        else "The platform leaves it empty:"
    )
    return f"{choice} let the owner of the table run: {nullable}"


def _drop_constraint(error: psycopg.Error, table: Table) -> str:
    name = error.diag.constraint_name
    if not name or error.diag.table_name != table.name:
        return "Correct the file, or let the owner of the table drop the constraint."
    drop = sql.SQL("ALTER TABLE {} DROP CONSTRAINT {}").format(table.data, sql.Identifier(name))
    return f"Correct the file, or let the owner of the table run: {statements.script([drop])}"
