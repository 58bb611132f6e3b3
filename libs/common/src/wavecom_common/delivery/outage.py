"""Whether a provider can be reached: counted, and logged once for each outage, however many deliveries wait."""

from time import monotonic

from wavecom_common.delivery.port import NotReady
from wavecom_common.kernel.backoff import reconnect_delays_s
from wavecom_common.telemetry import metrics
from wavecom_common.telemetry.logs import get_logger

_log = get_logger()


class Outage:
    """The state of one provider, as one process sees it. It starts as reachable."""

    def __init__(self, provider: str) -> None:
        self._provider = provider
        self._gauge = metrics.PROVIDER_UNAVAILABLE.labels(provider)
        self._gauge.set(0)
        self._delays_s = reconnect_delays_s()
        self._since_s = 0.0
        # Why the latest connection could not be had; None when it could.
        self.cause: str | None = None

    def failed(self, error: NotReady) -> None:
        """No connection could be had. A log line says so when that is new, or has another cause than before."""
        metrics.PROVIDER_CONNECTION_FAILURES.labels(self._provider, error.cause).inc()
        self._gauge.set(1)
        if self.cause is None:
            self._since_s = monotonic()
        if self.cause != error.cause:
            _log.warning("provider_unavailable", provider=self._provider, cause=error.cause, error=str(error))
        self.cause = error.cause

    def pause_s(self) -> float:
        """How long to wait before the next try: longer each time, up to five seconds."""
        return next(self._delays_s)

    def over(self) -> None:
        """A connection could be had, or none is wanted any more."""
        if self.cause is None:
            return
        _log.info("provider_unavailable_over", provider=self._provider, after_s=round(monotonic() - self._since_s, 1))
        self._gauge.set(0)
        self._delays_s = reconnect_delays_s()
        self.cause = None
