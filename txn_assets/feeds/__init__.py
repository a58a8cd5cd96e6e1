"""The feeds: what rows the files of a sender have, and where they go."""
