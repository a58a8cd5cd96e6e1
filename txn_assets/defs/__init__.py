"""The Dagster shell: the only folder that may import dagster."""
