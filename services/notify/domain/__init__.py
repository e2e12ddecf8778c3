"""The rules of the ledger: what happens to a delivery next, as pure functions over frozen values.

pending ──▶ sending ──▶ sent
   ▲  │        │ └────▶ failed            the provider refused it for good
   │  │        └──────▶ unknown ──▶ sent, failed, or pending again
   │  └──▶ suppressed, failed             decided before anything left
   └── sending                            the provider refused it for now

``sending`` is committed before the network call, so whoever dies in between leaves a row that says so. A ``sending``
whose lease ran out is never ``pending`` again: it is ``unknown``, and settled only when nobody can speak any more.
"""
