"""playbook: decides who is told what, when, and how much care an account gets.

consumes      ``health``: AccountChanged, AccountWentSilent, HealthBandChanged; ``deliveries``: TouchDelivered,
              TouchFailed, TouchSuppressed
produces      ``touches``: TouchRequested, TouchCancelled
owns          runs and their touches, the timeline of each account, a projection of accounts for its own use
never does    scores an account, asks health over HTTP, sends a message, decides without writing down why
promises      one open run per playbook and account; an episode starts one run, and one more when the account gets worse
              long after; nobody is told in a tier that the account has left; the same touch is asked for once, however
              often an event arrives and wherever a process dies
may happen    a touch is asked for although the account recovers a moment later: then it is cancelled, and notify may
              have sent it already; an account that goes from red to yellow and back, and is never green between, is
              told as red once
"""
