"""Every query of playbook. Each function does a constant number of statements, whatever it is given.

situations   what decisions about an account depend on, loaded and locked together
accounts     the projection of accounts, and findings that wait for it
runs         runs, their pinned definitions, and when their next steps are due
touches      what was asked for, and what became of it
timeline     what people read
versions     what each version of a playbook says
pages        what the HTTP API shows
"""
