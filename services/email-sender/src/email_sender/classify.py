"""What an SMTP reply says about a delivery. Pure.

Source: RFC 5321 section 4.2 (reply codes), RFC 3463 and the IANA registry of enhanced status codes.
"""

import re
from typing import Final

from wavecom_common.events.outcomes import DeliveryOutcome, PermanentFailure, TransientFailure

_ENHANCED: Final = re.compile(r"\b([245])\.(\d{1,3})\.(\d{1,3})\b")
# Refusals of us, not of the recipient or the message: an operator mends them, so the notification may still go out.
_OUR_FAULT_CODES: Final = frozenset({530, 534, 535, 538})
_OUR_FAULT: Final = frozenset({"5.1.8", "5.7.0", "5.7.1", "5.7.8", "5.7.9", "5.7.25", "5.7.26", "5.7.27"})


def classify(code: int, text: str) -> DeliveryOutcome:
    """The outcome of a refusal: permanent when the recipient or the message is refused for good, else transient.

    The enhanced status code in the text decides before the reply code. The error names codes only: a server's text
    repeats addresses.
    """
    found = _ENHANCED.search(text)
    enhanced = found.group(0) if found else ""
    error = f"SMTP {code} {enhanced}".rstrip()
    if code in _OUR_FAULT_CODES or enhanced in _OUR_FAULT:
        return TransientFailure(error)
    permanent = enhanced.startswith("5") if enhanced else 500 <= code < 600
    return PermanentFailure(error) if permanent else TransientFailure(error)
