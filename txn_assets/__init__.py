"""Transaction CSV files as Dagster assets: validated, hashed, and loaded exactly once into three stores.

Folders, each importing only from those below it:

    definitions        the code location
    cli, run, job      the `txn` command, the load of one file, and a run of the job in this process
    own_defs           your own assets and feeds
    defs               the Dagster shell, the only folder that imports dagster
    local              the embedded servers of the local target
    stores             the stores and their clients, one module per topic
    senders            for people who send files: the dry run and the published contract
    feeds, config      the feeds and their row models; the configuration
    rows               from bytes to hashed rows
    files              which files there are and what to do with them
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from txn_assets.defs.component import LandedFiles as LandedFiles


def __getattr__(name: str) -> Any:  # noqa: ANN401 - any attribute
    """Import the component `txn_assets.LandedFiles` when Dagster asks for it, because the servers have no Dagster."""
    if name == "LandedFiles":
        from txn_assets.defs.component import LandedFiles  # noqa: PLC0415 - see above

        return LandedFiles
    message = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(message)


def __dir__() -> list[str]:
    """Return the names of the package, with the component, so that `dg list components` finds it."""
    return [*globals(), "LandedFiles"]
