"""The sweep of `make faults` over `txn erase`, with one kill in the middle of its work."""

import random

from txn_assets_tests.deployment import Deployment
from txn_assets_tests.faults.erasures import kill_erasures


def test_killed_erasure(deployment: Deployment) -> None:
    """An erasure that is killed halfway is finished by the next one, and no other row is lost, changed or doubled."""
    tally = kill_erasures(deployment, random.Random(29), tries=1)

    assert tally.notes == ()
    assert (tally.survived, tally.lost, tally.twice, tally.hung) == (tally.tries, 0, 0, 0)
