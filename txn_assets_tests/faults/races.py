"""Races: many loads of one file, or of several, at once in child processes.

`child.py` has the child's side, `bench.py` the counting.
"""

from txn_assets.feeds.feed import FIRST_FEED
from txn_assets_tests.deployment import Deployment
from txn_assets_tests.faults.bench import KEYS, Content, Tally, difference, leftovers
from txn_assets_tests.faults.child import Children

PROCESSES = 8


def race_same(
    deployment: Deployment, children: Children, store: str, versions: tuple[Content, Content], *, rounds: int
) -> Tally:
    """Load one file in eight processes at once: the newer version in four, the older in four."""
    feed = versions[0].feed
    tally = Tally(store if feed == FIRST_FEED else f"{feed}: {KEYS[store]}", "8 at once, one file")
    generation = versions[0].file.version.generation + 10_000
    for turn in range(rounds):
        old, new = versions[0].at(generation + 2 * turn), versions[1].at(generation + 2 * turn + 1)
        pids = [children.start(store, (old, new)[n % 2], f"race-{turn}-{n}") for n in range(PROCESSES)]
        ends = [children.wait(pid) for pid in pids]
        note = f"processes ended with {ends}" if any(ends) else ""
        tally.add(difference(deployment, store, new), leftovers(deployment, store, new), note)
    return tally


def race_different(deployment: Deployment, children: Children, store: str, contents: list[Content]) -> Tally:
    """Load eight files in eight processes at once; files of different feeds may have the same name."""
    tally = Tally(store, "8 at once, 8 files")
    pids = [children.start(store, content, f"race-{n}") for n, content in enumerate(contents)]
    ends = [children.wait(pid) for pid in pids]
    for content, end in zip(contents, ends, strict=True):
        note = f"a process ended with {end}" if end else ""
        tally.add(difference(deployment, store, content), leftovers(deployment, store, content), note)
    return tally
