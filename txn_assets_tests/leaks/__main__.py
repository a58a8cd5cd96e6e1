"""`make leaks`: plant clear ids everywhere, search every byte that the platform wrote, and prove that a leak is found.

See docs/security.md.
"""

import argparse
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from txn_assets_tests.leaks import plants as files
from txn_assets_tests.leaks.builds import LEAKS, build
from txn_assets_tests.leaks.inside import search_stores
from txn_assets_tests.leaks.plants import Plants
from txn_assets_tests.leaks.scenarios import SCENARIOS, landing_folders, with_a_defect
from txn_assets_tests.leaks.search import Hit, Search
from txn_assets_tests.leaks.world import World

SHOWN_PLACES = 40


def main() -> int:
    """Run all scenarios; return 1 if an id was found, or if a leak of the leaking build was not."""
    parser = argparse.ArgumentParser(description="Plants ids and searches all that the platform writes for them.")
    parser.add_argument("--keep", action="store_true", help="keep the folder with everything")
    arguments = parser.parse_args()
    top = Path(tempfile.mkdtemp(prefix="txn-leaks-"))
    try:
        search, plants = look(World(top / "world", code=build(top / "platform")), SCENARIOS)
        report("the platform", search, plants)
        leaking = World(top / "leaking", code=build(top / "leaking-build", LEAKS))
        of_build, planted = look(leaking, (of_one_file, with_a_defect))
        report("a build that leaks on purpose", of_build, planted, shown=len(LEAKS))
        missed = [leak for leak in LEAKS if not any(leak.place in hit.place for hit in of_build.hits)]
        sys.stdout.writelines(f"  not found: the leak in {leak.file}\n" for leak in missed)
    finally:
        if arguments.keep:
            sys.stdout.write(f"everything is kept in {top}\n")
        else:
            shutil.rmtree(top, ignore_errors=True)
    return 1 if search.hits or missed else 0


def look(world: World, scenarios: Sequence[Callable[[World, Plants], None]]) -> tuple[Search, Plants]:
    """Run the scenarios, and search all that was written."""
    plants = Plants()
    search = Search(plants.mark)
    try:
        for scenario in scenarios:
            started = time.monotonic()
            scenario(world, plants)
            sys.stdout.write(f"  {scenario.__name__:<26} {time.monotonic() - started:6.1f} s\n")
            sys.stdout.flush()
        search_stores(world, search)
    finally:
        world.down()
    apart = [world.sent, *landing_folders(world)]
    for path in sorted(world.top.rglob("*")):
        if path.is_file() and not path.is_symlink() and not any(path.is_relative_to(one) for one in apart):
            search.add_file(str(path.relative_to(world.top)), path)
    return search, plants


def of_one_file(world: World, plants: Plants) -> None:
    """Load one file of valid and rejected rows, and explain one of these."""
    path = str(world.send("mixed.csv", files.mixed(plants, "mixed.csv")))
    world.txn("run", path, check=True)
    world.txn("check", "--explain", "33", path)


def report(what: str, search: Search, plants: Plants, *, shown: int = SHOWN_PLACES) -> None:
    """Print what was searched and what was found."""
    sys.stdout.write(
        f"{what}: {len(plants.labels):,} ids planted, {search.bytes:,} bytes in {search.places:,} places searched, "
        f"{len(search.hits):,} hits outside the landing zone\n"
    )
    by_place: dict[str, list[Hit]] = {}
    for hit in sorted(search.hits):
        by_place.setdefault(hit.place, []).append(hit)
    for place, hits in list(by_place.items())[:shown]:
        forms = ", ".join(sorted({hit.form for hit in hits}))
        ((label, _),) = Counter(plants.label(hit.found) for hit in hits).most_common(1)
        sys.stdout.write(f"  {len(hits):>5} {forms} in {place}, such as {label}\n")
    if len(by_place) > shown:
        sys.stdout.write(f"  and in {len(by_place) - shown} more places\n")


if __name__ == "__main__":
    sys.exit(main())
