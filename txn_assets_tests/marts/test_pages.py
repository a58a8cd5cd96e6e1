"""Pages of a mart in PostgreSQL: nothing is left out or comes twice, whatever the keys are."""

import base64
import datetime as dt
import json
import random
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg import sql

from txn_assets.marts.mart import MARTS, MartRow
from txn_assets.marts.pages import Cursor, MartPages, parts_from
from txn_assets_tests.deployment import Deployment
from txn_assets_tests.marts.conftest import opened

SALES = MARTS["pg_sales"]
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))


@given(st.none() | st.dates(), st.none() | TEXTS, st.integers(1, 1 << 40))
def test_cursor_survives_a_link(day: dt.date | None, name: str | None, skip: int) -> None:
    """The text of a cursor gives the same cursor."""
    cursor = Cursor((day, name), skip)
    assert Cursor.of_text(str(cursor), SALES) == cursor


@given(
    st.text()
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.dates().map(str),
        lambda inner: st.lists(inner, max_size=4),
    ).map(lambda value: base64.urlsafe_b64encode(json.dumps(value).encode()).decode())
)
def test_other_text_is_no_cursor(text: str) -> None:
    """Whatever a client sends is a cursor that can be bound, or a ValueError."""
    try:
        cursor = Cursor.of_text(text, SALES)
    except ValueError:
        return
    assert [type(value) for value in cursor.key if value is not None] in ([], [dt.date], [str], [dt.date, str])
    assert list(parts_from(SALES.key, cursor))


@pytest.mark.parametrize("seed", range(2))
def test_pages_have_every_row_once(with_marts: Deployment, seed: int) -> None:
    """Rows with equal keys and nulls in their keys are spread over pages of any size."""
    generated = random.Random(seed)
    days = [dt.date(2024, 1, 1), dt.date(2024, 1, 2), None]
    rows = [
        (generated.choice(["a", "B", None]), generated.choice(["Pen", None]), 1, number // 3, 1, generated.choice(days))
        for number in range(60)
    ]
    with opened(with_marts) as marts, closing(MartPages.of(marts.postgres)) as pages:
        marts.postgres.refresh(SALES)
        insert = sql.SQL("INSERT INTO {} VALUES (%s, %s, %s, %s, %s, %s)").format(marts.postgres.names.of(SALES))
        for row in rows:
            with_marts.pg.execute(insert, row)
        whole, _ = _page(pages, 1000)
        assert len(whole) == len(rows)
        by_key = marts.postgres.rows(SALES)
        assert [(row[5], row[0]) for row in whole] == [(row[5], row[0]) for row in by_key]
        for limit in (1, 7, 30, 60):
            found, cursor = _page(pages, limit)
            while cursor and len(found) < len(whole):
                more, cursor = _page(pages, limit, cursor)
                found += more
            assert (found, cursor) == (whole, None)


def test_connection_is_used_again(with_marts: Deployment) -> None:
    """Snapshots share a connection, which is idle in between; one that the server closed is replaced."""
    with opened(with_marts) as marts, closing(MartPages.of(marts.postgres)) as pages:
        first, second = (_process(pages) for _ in range(2))
        assert first == second
        state = "SELECT state, backend_xmin FROM pg_stat_activity WHERE pid = %s"
        assert with_marts.pg.execute(state, [first]).fetchone() == ("idle", None)
        with_marts.pg.execute("SELECT pg_terminate_backend(%s, 5000)", [first])
        assert _process(pages) != first


def _process(pages: MartPages) -> int:
    """Read something, and return the process of the server that answered."""
    with pages.snapshot() as snapshot:
        assert snapshot.version(SALES) is None
        return snapshot.connection.info.backend_pid


def _page(pages: MartPages, limit: int, cursor: Cursor | None = None) -> tuple[list[MartRow], Cursor | None]:
    with pages.snapshot() as snapshot:
        return snapshot.page(SALES, limit=limit, start=cursor and Cursor.of_text(str(cursor), SALES))
