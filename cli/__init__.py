"""The ``kizashi`` command. It owns no data and speaks only to the HTTP APIs."""
