"""The environment variables of playbook."""

from __future__ import annotations

from pydantic import Field

from libs.common.settings import CommonSettings


class PlaybookSettings(CommonSettings):
    playbook_port: int = Field(default=8082, ge=1, le=65535, description="where playbook's API listens")
