"""The store in the data lake."""
