"""What can go wrong, as one tree.

WavecomError
├── ConfigurationError     a setting is missing or wrong; the process ends with one line that names it
├── Undecodable            bytes that are not an EventBatch; never retried, dead-lettered
├── Oversized              an event larger than a message may be; never retried
├── Unstorable             a value the database will never take; never retried, dead-lettered
├── Refused                an operator's order makes no sense as things are; the text says what to do instead
├── Retryable              what time heals; says whether part of it may have been done
│   ├── Unroutable         no queue is bound where one must be; retried until the topology is applied
│   └── Unavailable        the broker or the database cannot be reached now
│       └── Overloaded     a bounded buffer or queue is full; retryable after a while
└── Draining               the process is stopping; what was not started is left to the broker
"""


class WavecomError(Exception):
    """The root of every error WaveCom raises on purpose."""


class ConfigurationError(WavecomError):
    """A setting is missing or wrong. Not retryable."""


class Undecodable(WavecomError):
    """A message body is not what its content type says. Not retryable."""


class Oversized(WavecomError):
    """An event is larger than a message may be. Not retryable."""


class Unstorable(WavecomError):
    """The database will not take a value, such as metadata nested too deeply. Not retryable."""


class Refused(WavecomError):
    """An operator's order makes no sense as things are, or somebody else was faster. Nothing was done."""


class Retryable(WavecomError):
    """What time heals: `Unavailable` and `Unroutable`.

    `handed_over` is False when nothing of what was asked for has left this process, so that nothing can come of it;
    otherwise all of it, a part or nothing was done.
    """

    def __init__(self, *args: object, handed_over: bool = True) -> None:
        super().__init__(*args)
        self.handed_over = handed_over


class Unroutable(Retryable):
    """The broker returned a message: no queue is bound to its routing key. Retryable once the topology is applied."""


class Unavailable(Retryable):
    """The broker or the database cannot be reached or did not answer in time. Retryable; what it did is unknown."""


class Overloaded(Unavailable):
    """A bounded buffer or queue is full. Retryable after a while."""


class Draining(WavecomError):
    """The process is stopping and takes no new work. The broker gives the work to another process."""
