"""Moving an installation from one event log to another, with nothing lost or doubled. ``move`` is where it begins."""
