"""The rules of playbook: pure functions over frozen values, no I/O, no clock, no randomness.

accounts   what playbook knows of an account, whatever the order in which snapshots arrive
runs       what a run is, and what can be decided about one
choose     which runs start, do not start, or end, and why
steps      what a run does when its next step is due
touches    what becomes of a touch
timeline   what people read about all this
words      how it is said
"""
