"""The environment variables of health."""

from pydantic import Field

from libs.common.settings import CommonSettings


class HealthSettings(CommonSettings):
    health_port: int = Field(default=8081, ge=1, le=65535, description="of health's HTTP API")
    health_model: str = Field(default="default", pattern=r"^[a-z][a-z0-9_-]{0,62}$", description="config/health/….yaml")
