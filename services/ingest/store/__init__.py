"""Every query of ingest, one module per noun."""
