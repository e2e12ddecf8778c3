"""Every query of health, by noun: facts, identities, queues, roll-ups, accounts."""
