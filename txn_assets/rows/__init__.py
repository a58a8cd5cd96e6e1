"""From bytes to hashed rows. Pure: no Dagster, no cloud client."""
