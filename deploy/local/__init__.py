"""Everything on one machine with nothing but pip: PostgreSQL from a wheel, a supervisor, an inbox, a demo product."""
