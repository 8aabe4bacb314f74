"""What `throughput.py` measures: a module for each kind of thing, and one for the table that comes of it."""
