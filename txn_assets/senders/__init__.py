"""For people who send files: try a file before it lands, and read the contract."""
