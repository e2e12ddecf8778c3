"""python -m services.ingest"""

from libs.common.runtime import run
from services.ingest.app import compose

run(compose)
