"""From bytes to hashed rows. Pure code: no Dagster, no cloud client."""
