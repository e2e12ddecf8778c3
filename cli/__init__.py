"""The ``kizashi`` command. It owns no data and speaks only to the HTTP APIs, but for what works on a stopped
installation: ``kizashi doctor``, ``kizashi log create | move | adopt``."""
