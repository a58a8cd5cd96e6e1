"""Erasure of persons: make a request, carry it out in every place, and prove that nothing is left. No Dagster."""
