"""`python -m email_sender`: delivers e-mail notifications until it is told to stop."""

from wavecom_common.delivery.simulated import SimulatedProvider
from wavecom_common.hosting.sender import AnyAdapter, run_sender

from email_sender.channel import CHANNEL
from email_sender.settings import EmailSenderSettings
from email_sender.smtp import SmtpProvider


def build_adapter(settings: EmailSenderSettings) -> AnyAdapter:
    """The provider the settings name."""
    return SmtpProvider(settings) if settings.email_provider == "smtp" else SimulatedProvider(settings.simulation)


if __name__ == "__main__":
    run_sender(CHANNEL, EmailSenderSettings, build_adapter)
