"""Everything that two services share, one noun per file."""
