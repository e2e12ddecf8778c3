"""The event log on Apache Kafka: the engine for more than one machine. ``log`` is where it begins."""
