"""The I/O managers: one per store, and one for the values that pass between assets."""
