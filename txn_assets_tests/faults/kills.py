"""The kill sweep and the races: loads in child processes, killed at instants spread over them, or many at once.

Here belongs when children start and end. What they do is in `child.py`, the counting is in `bench.py`.
"""

import os
import signal
import time
from contextlib import suppress

from txn_assets_tests.deployment import SINKS, Deployment
from txn_assets_tests.faults.bench import Content, Difference, Tally, difference, leftovers
from txn_assets_tests.faults.child import WHOLE_RUN, Children

PROCESSES = 8


def kill_sweep(
    deployment: Deployment, children: Children, store: str, versions: tuple[Content, Content], *, instants: int
) -> Tally:
    """Kills a replacing load at `instants` instants, and runs it once more each time."""
    tally = Tally(store, "SIGKILL")
    before = versions[0].at(versions[0].file.version.generation + 1)
    spent = 0.0
    for turn in range(2):
        # The first warms the servers up; the second says how long a load takes.
        before = versions[turn].at(before.file.version.generation + 1)
        started = time.monotonic()
        assert children.wait(children.start(store, before, f"first-{turn}")) == 0
        spent = time.monotonic() - started
    for instant in range(instants):
        after = versions[instant % 2].at(before.file.version.generation + 1)
        pid = children.start(store, after, f"killed-{instant}")
        time.sleep(spent * instant / max(1, instants - 1))
        _kill(pid)
        children.wait(pid)
        half = difference(deployment, store, before, after)
        again = children.wait(children.start(store, after, f"again-{instant}"))
        whole = difference(deployment, store, after)
        note = f"the second run ended with {again}" if again else ""
        found = Difference(half.lost + whole.lost, half.twice + whole.twice)
        tally.add(found, leftovers(deployment, store, after), note)
        before = after
    return tally


def kill_whole_run(
    deployment: Deployment,
    children: Children,
    contents: tuple[tuple[Content, bytes], tuple[Content, bytes]],
    *,
    instants: int,
) -> Tally:
    """Kills the run of a newly landed file, from raw_csv to the checks, and runs it once more each time."""
    tally = Tally("all three", "SIGKILL of the run")
    spent = 0.0
    before = contents[0][0]
    for instant in range(-2, instants):
        content, data = contents[instant % 2]
        name = content.file.version.name
        after = content.at(deployment.land(name, data))
        started = time.monotonic()
        pid = children.start(WHOLE_RUN, after, "")
        if instant < 0:
            assert children.wait(pid) == 0
            spent = time.monotonic() - started
            before = after
            continue
        time.sleep(spent * instant / max(1, instants - 1))
        _kill(pid)
        children.wait(pid)
        halves = [difference(deployment, store, before, after) for store in SINKS]
        again = children.wait(children.start(WHOLE_RUN, after, ""))
        found = halves + [difference(deployment, store, after) for store in SINKS]
        left = [sentence for store in SINKS for sentence in leftovers(deployment, store, after)]
        total = Difference(sum(one.lost for one in found), sum(one.twice for one in found))
        tally.add(total, left, f"the second run ended with {again}" if again else "")
        before = after
    return tally


def race_same(
    deployment: Deployment, children: Children, store: str, versions: tuple[Content, Content], *, rounds: int
) -> Tally:
    """Eight processes load one file at once: the newer version in four, the older in four."""
    tally = Tally(store, "8 at once, one file")
    generation = versions[0].file.version.generation + 10_000
    for turn in range(rounds):
        old, new = versions[0].at(generation + 2 * turn), versions[1].at(generation + 2 * turn + 1)
        pids = [children.start(store, (old, new)[n % 2], f"race-{turn}-{n}") for n in range(PROCESSES)]
        ends = [children.wait(pid) for pid in pids]
        note = f"processes ended with {ends}" if any(ends) else ""
        tally.add(difference(deployment, store, new), leftovers(deployment, store, new), note)
    return tally


def race_different(deployment: Deployment, children: Children, store: str, contents: list[Content]) -> Tally:
    """Eight processes load eight files at once."""
    tally = Tally(store, "8 at once, 8 files")
    pids = [children.start(store, content, f"race-{n}") for n, content in enumerate(contents)]
    ends = [children.wait(pid) for pid in pids]
    for content, end in zip(contents, ends, strict=True):
        note = f"a process ended with {end}" if end else ""
        tally.add(difference(deployment, store, content), leftovers(deployment, store, content), note)
    return tally


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
