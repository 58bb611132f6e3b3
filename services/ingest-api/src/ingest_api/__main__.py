"""`python -m ingest_api`."""

from wavecom_common.hosting.service import main

from ingest_api.bootstrap import build
from ingest_api.settings import IngestSettings

if __name__ == "__main__":
    main("ingest-api", IngestSettings, build, public=True)
