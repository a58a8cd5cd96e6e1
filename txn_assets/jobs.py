"""The job that loads landed files: all six assets and their checks.

Here belong jobs and what their runs are tagged with. Documented in docs/operations.md.
"""

import dagster as dg

from txn_assets.assets import ASSETS

load_landed_files = dg.define_asset_job(
    name="load_landed_files",
    selection=dg.AssetSelection.assets(*ASSETS),
    description="Loads a landed file, or several, into the three stores.",
    tags={
        # A run that died with its machine left its clear text there: it starts again from the landing zone.
        "dagster/retry_strategy": "ALL_STEPS",
    },
)
