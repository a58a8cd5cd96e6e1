"""Which files there are, and what to do with them. Pure: no Dagster, no cloud client, no rows."""
