"""After files with overlaps, replays, overwritten and deleted versions, the marts equal a recomputation."""

import random

from txn_assets.marts import agreement
from txn_assets.marts.engines import Marts
from txn_assets.marts.mart import MARTS, Engine
from txn_assets_tests.deployment import Deployment, make_file, make_row
from txn_assets_tests.marts import recomputed
from txn_assets_tests.marts.conftest import opened


def generated_file(random_: random.Random) -> bytes:
    """Return a file of rows whose ids overlap with those of other files, on days of two years."""
    rows = [
        make_row(
            transaction_id=f"T{random_.randrange(120):03}",
            product=random_.choice(("Halal Laptop", "Halal Mouse", "=1+1", 'Zürich, "Brot"', "a", "B")),
            price=random_.choice((f"{random_.randrange(10**7) / 10_000:.4f}", "0.0001", "99999.9999", "10.5", "7")),
            quantity=str(random_.choice((1, 2, random_.randrange(1, 1000), 10**9))),
            date=f"{random_.choice((2023, 2024))}-{random_.randrange(1, 13):02}-{random_.randrange(1, 29):02}",
        )
        for _ in range(random_.randrange(1, 25))
    ]
    return make_file(*rows)


def assert_equal(marts: Marts, files: dict[str, tuple[int, bytes]]) -> None:
    """Refresh all marts and compare them with `files`, with each other and with the ledgers."""
    wanted = recomputed.marts(recomputed.current(files))
    engines: tuple[Engine, ...] = ("postgres", "bigquery")
    for mart in MARTS.values():
        for engine in (engine for engine in engines if engine in mart.engines):
            built = getattr(marts, engine)
            done = built.refresh(mart)
            assert built.rows(mart) == wanted[mart.name], f"{mart.name} in {engine}"
            assert agreement.ledger_differences(mart, done.version, built.totals(mart)) == []
            assert built.refresh(mart).is_unchanged


def test_marts_equal_a_recomputation(with_marts: Deployment) -> None:
    """Twenty files and their later versions: both engines, to the last digit, and after each round."""
    random_ = random.Random(15)
    landed: dict[str, tuple[int, bytes]] = {}
    with opened(with_marts) as marts:
        for round_ in (range(14), (3, 5, *range(14, 20))):
            names = [f"file_{number:02}.csv" for number in round_]
            for name in names:
                content = generated_file(random_)
                landed[name] = (with_marts.land(name, content), content)
            # The same bytes again, under their name and under another.
            replayed = landed["file_05.csv"][1]
            landed["file_05.csv"] = (with_marts.land("file_05.csv", replayed), replayed)
            landed["copy.csv"] = (with_marts.land("copy.csv", replayed), replayed)
            with_marts.materialize_batch(*dict.fromkeys([*names, "file_05.csv", "copy.csv"]))
            # A file that is deleted after it was loaded keeps its rows.
            with_marts.bucket.blob(f"{with_marts.config.data_lake.landing}/{names[0]}").delete()
            assert_equal(marts, landed)
