"""The search finds what a leaking build writes, in the cheapest scenario; `make leaks` has the others."""

from pathlib import Path

from txn_assets_tests.leaks import plants as files
from txn_assets_tests.leaks.builds import LEAKS, build
from txn_assets_tests.leaks.plants import Plants
from txn_assets_tests.leaks.search import Search
from txn_assets_tests.leaks.world import World


def hits_of(world: World) -> int:
    """Return in how many places the explanation of a rejected row has an id."""
    plants = Plants()
    path = world.send("mixed.csv", files.mixed(plants, "mixed.csv"))
    printed = world.txn("check", "--explain", "33", str(path))
    assert b"record 33 of mixed.csv: rejected" in printed.read_bytes()
    search = Search(plants.mark)
    for one in world.top.rglob("*"):
        if one.is_file() and not one.is_relative_to(world.sent):
            search.add_file(str(one), one)
    return len(search.hits)


def test_leaking_build_is_caught(tmp_path: Path) -> None:
    """The id is found if the line that hides it is changed, and else is not."""
    assert hits_of(World(tmp_path / "platform", code=build(tmp_path / "as it is"))) == 0
    assert hits_of(World(tmp_path / "leaking", code=build(tmp_path / "build", LEAKS))) == 1
