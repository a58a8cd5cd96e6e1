"""Through the public way in, against the embedded servers."""
