"""How fast, at what cost, and compared with what: `make bench`."""
