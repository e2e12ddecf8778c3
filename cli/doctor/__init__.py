"""``kizashi doctor``: looks at an installation, whatever of it works, and says what is wrong and what to do.

``command`` is where it begins, ``examination`` the order of the looks. Each other module is one area: what asks is
apart from what judges, and both change nothing. It asks the databases and the log themselves, since services may be
stopped or refuse to start.
"""
