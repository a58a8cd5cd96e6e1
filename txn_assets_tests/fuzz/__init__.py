"""`make fuzz`: files that nobody should send, through validation and hashing, in processes that are watched."""
