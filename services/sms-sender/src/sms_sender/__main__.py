"""`python -m sms_sender`: delivers sms notifications until it is told to stop."""

from wavecom_common.delivery.simulated import SimulatedProvider
from wavecom_common.hosting.sender import run_sender

from sms_sender.channel import CHANNEL
from sms_sender.settings import SmsSenderSettings

if __name__ == "__main__":
    run_sender(CHANNEL, SmsSenderSettings, lambda settings: SimulatedProvider(settings.simulation))
