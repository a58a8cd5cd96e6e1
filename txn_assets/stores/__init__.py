"""Access to the stores, one module per service. No Dagster."""
