"""Which files exist and what to do with them. Pure code: no Dagster, no cloud client, no rows."""
