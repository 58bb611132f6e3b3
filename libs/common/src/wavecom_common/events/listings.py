"""What a listing of notifications holds to, for the service that answers one and the API that describes it."""

from typing import Final

# A listing is counted so far, and its pages reach so far: what a question costs has a bound, whatever is stored.
MAX_COUNTED: Final = 10_000
