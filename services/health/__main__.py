"""python -m services.health"""

from libs.common.runtime import run
from services.health.app import compose

run(compose)
