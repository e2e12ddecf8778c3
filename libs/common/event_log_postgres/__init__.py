"""The event log on PostgreSQL: the embedded engine. ``log`` is where it begins; its SQL is in ``migrations/log``."""
