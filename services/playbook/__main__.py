"""python -m services.playbook"""

from libs.common.runtime import run
from services.playbook.app import compose

run(compose)
