"""The marts by other means: plain Python over the files that landed, without the platform's code."""

import csv
import datetime as dt
import hashlib
import io
from collections import defaultdict
from collections.abc import Iterable, Mapping
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from typing import Any, NamedTuple


class Sale(NamedTuple):
    """A current transaction."""

    id: str | None
    product: str
    price: Decimal
    quantity: int
    date: dt.date


def current(files: Mapping[str, tuple[int, bytes]]) -> list[Sale]:
    """Return one sale for each id in `files`, which are generation and content by name; the last row counts."""
    newest: dict[object, Sale] = {}
    for name, (generation, content) in sorted(files.items(), key=lambda item: item[1][0]):
        for place, row in enumerate(csv.DictReader(io.StringIO(content.decode(), newline=""))):
            id_ = hashlib.sha256(row["transaction_id"].encode()).hexdigest() if row["transaction_id"] else None
            sale = Sale(
                id_, row["product"], Decimal(row["price"]), int(row["quantity"]), dt.date.fromisoformat(row["date"])
            )
            newest[id_ or (name, generation, place)] = sale
    return list(newest.values())


def marts(sales: Iterable[Sale]) -> dict[str, list[tuple[Any, ...]]]:
    """Return the rows of each mart in the order of its key."""
    by_product, by_date, by_month = defaultdict(list), defaultdict(list), defaultdict(list)
    for sale in sales:
        by_product[sale.product].append(sale)
        by_date[sale.date].append(sale)
        by_month[sale.date.replace(day=1), sale.product].append(sale)
    facts = sorted(
        ((s.id, s.product, s.price, s.quantity, s.price * s.quantity, s.date) for s in sales),
        key=lambda row: (row[5], row[0] is None, row[0]),
    )
    return {
        "sales_by_product": [
            (product, len(of), *_sums(of), _average(of), min(s.date for s in of), max(s.date for s in of))
            for product, of in sorted(by_product.items(), key=lambda item: item[0].encode())
        ],
        "sales_by_date": [(day, len(of), *_sums(of)) for day, of in sorted(by_date.items())],
        "summary_sales": [
            (product, month, _sums(of)[1], _average(of), len(of))
            for (month, product), of in sorted(by_month.items(), key=lambda item: (item[0][0], item[0][1].encode()))
        ],
        "pg_sales": facts,
        "fact_sales": facts,
    }


def _sums(sales: list[Sale]) -> tuple[int, Decimal]:
    return sum(s.quantity for s in sales), sum((s.price * s.quantity for s in sales), Decimal(0))


def _average(sales: list[Sale]) -> Decimal:
    exact = sum((Fraction(s.price) for s in sales), Fraction(0)) / len(sales) * 10_000
    return Decimal(int(exact + Fraction(1, 2))).scaleb(-4).quantize(Decimal("0.0001"), ROUND_HALF_UP)
