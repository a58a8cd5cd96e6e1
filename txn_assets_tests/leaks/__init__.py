"""`make leaks`: plant ids, use every part of the platform, and search all bytes that it wrote for them."""
