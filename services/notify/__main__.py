"""python -m services.notify"""

from libs.common.runtime import run
from services.notify.app import compose

if __name__ == "__main__":
    run(compose)
