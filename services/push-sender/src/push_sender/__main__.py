"""`python -m push_sender`: delivers push notifications until it is told to stop."""

from wavecom_common.delivery.simulated import SimulatedProvider
from wavecom_common.hosting.sender import run_sender

from push_sender.channel import CHANNEL
from push_sender.settings import PushSenderSettings

if __name__ == "__main__":
    run_sender(CHANNEL, PushSenderSettings, lambda settings: SimulatedProvider(settings.simulation))
