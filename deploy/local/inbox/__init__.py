"""A local inbox: a real SMTP server and a Slack double in one process, with a page that shows what was delivered.

It behaves like the real services where it matters to a sender: tokens, limits, errors, 429, dropped connections.
Whatever it accepted is on disk before the sender hears of it. Run it with ``python -m deploy.local.inbox``; tests use
``deploy.local.inbox.server.running_inbox``.
"""
