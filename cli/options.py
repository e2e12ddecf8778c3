"""Options that many commands have."""

from __future__ import annotations

import click

json_option = click.option("--json", "wants_json", is_flag=True, help="The API's own answer, for scripts.")
yes_option = click.option("--yes", is_flag=True, help="Do not ask.")
