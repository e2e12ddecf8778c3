"""python -m bench.ingest_sampled FILE: ingest as it is; FILE gets where its CPU time went when it stops."""

from __future__ import annotations

import sys
from pathlib import Path

from bench.sampling import sampled
from libs.common.runtime import run
from services.ingest.app import compose

if __name__ == "__main__":
    with sampled(Path(sys.argv[1])):
        run(compose)
