"""The stores and what they are reached with, one module per service. No Dagster."""
