"""Reading a file: from compressed bytes in any of the supported forms to columns of text in the standard form."""
