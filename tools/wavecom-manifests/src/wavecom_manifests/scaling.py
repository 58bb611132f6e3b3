"""How many copies KEDA and Kubernetes would make of a consumer: their formula, for trying manifests without a cluster.

KEDA decides between none and one, and hands everything above to a HorizontalPodAutoscaler with the messages in the
queues as an external metric. Sources: https://keda.sh/docs/latest/concepts/scaling-deployments,
https://kubernetes.io/docs/concepts/workloads/autoscaling/horizontal-pod-autoscale (algorithm, stabilization, policies).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from wavecom_manifests.objects import Json, Object

# Kubernetes leaves the number alone while the metric is this near to its target.
TOLERANCE: Final = 0.1
# So often the HorizontalPodAutoscaler reads the metric, which KEDA asks the broker for in that moment: the controller
# manager's `--horizontal-pod-autoscaler-sync-period`. A ScaledObject's `pollingInterval` is about the step from zero.
PERIOD_S: Final = 15.0
# KEDA's own, where nothing is said.
_COOLDOWN_S: Final = 300


@dataclass(frozen=True)
class Policy:
    """A limit of how fast the number changes: by so many pods or percent in a period."""

    kind: str
    value: int
    period_s: float


@dataclass(frozen=True, kw_only=True)
class Scaler:
    """What a ScaledObject says."""

    name: str
    value: int
    activation_value: int
    least: int
    most: int
    cooldown_s: float
    up_window_s: float
    down_window_s: float
    up: Sequence[Policy]
    down: Sequence[Policy]

    @classmethod
    def of(cls, scaled_object: Object) -> "Scaler":
        """Read it from the manifest."""
        spec = scaled_object.spec
        metadata = spec["triggers"][0]["metadata"]
        behavior = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
        return cls(
            name=scaled_object.name,
            value=int(metadata["value"]),
            activation_value=int(metadata["activationValue"]),
            least=spec["minReplicaCount"],
            most=spec["maxReplicaCount"],
            cooldown_s=spec.get("cooldownPeriod", _COOLDOWN_S),
            up_window_s=behavior["scaleUp"]["stabilizationWindowSeconds"],
            down_window_s=behavior["scaleDown"]["stabilizationWindowSeconds"],
            up=_policies(behavior["scaleUp"]),
            down=_policies(behavior["scaleDown"]),
        )

    def faster(self, times: float) -> "Scaler":
        """The same with all its waits shortened."""
        return replace(
            self,
            cooldown_s=self.cooldown_s / times,
            up_window_s=self.up_window_s / times,
            down_window_s=self.down_window_s / times,
            up=[replace(policy, period_s=policy.period_s / times) for policy in self.up],
            down=[replace(policy, period_s=policy.period_s / times) for policy in self.down],
        )


def wanted(scaler: Scaler, messages: int, replicas: int) -> int:
    """The number the metric alone asks for."""
    if replicas and abs(messages / (scaler.value * replicas) - 1) <= TOLERANCE:
        return replicas
    return math.ceil(messages / scaler.value)


@dataclass
class Autoscaler:
    """One scaler at work; it remembers what it recommended and did, as its stabilization and its policies need."""

    scaler: Scaler
    _recommended: list[tuple[float, int]] = field(default_factory=list)
    _changes: list[tuple[float, int]] = field(default_factory=list)
    _active_at_s: float = float("-inf")

    def decide(self, now_s: float, messages: int, replicas: int) -> int:
        """How many copies there are to be now, of `replicas` there are, with so many messages in the queues."""
        if messages > self.scaler.activation_value:
            self._active_at_s = now_s
        elif self.scaler.least == 0 and now_s - self._active_at_s >= self.scaler.cooldown_s:
            return self._change(now_s, replicas, 0)
        if replicas == 0:
            return self._change(now_s, replicas, 1 if messages > self.scaler.activation_value else 0)
        asked = min(max(wanted(self.scaler, messages, replicas), self.scaler.least, 1), self.scaler.most)
        return self._change(now_s, replicas, self._limited(now_s, self._stabilized(now_s, asked, replicas), replicas))

    def _stabilized(self, now_s: float, asked: int, replicas: int) -> int:
        self._recommended.append((now_s, asked))
        lowest = min(number for at_s, number in self._recommended if now_s - at_s <= self.scaler.up_window_s)
        highest = max(number for at_s, number in self._recommended if now_s - at_s <= self.scaler.down_window_s)
        return min(max(replicas, lowest), highest)

    def _limited(self, now_s: float, number: int, replicas: int) -> int:
        if number > replicas:
            return min(number, max(self._up_to(policy, now_s, replicas) for policy in self.scaler.up))
        if number < replicas:
            return max(number, min(self._down_to(policy, now_s, replicas) for policy in self.scaler.down))
        return number

    def _up_to(self, policy: Policy, now_s: float, replicas: int) -> int:
        start = replicas - self._changed(now_s, policy.period_s, 1)
        more = policy.value if policy.kind == "Pods" else math.ceil(start * policy.value / 100)
        return max(replicas, start + more)

    def _down_to(self, policy: Policy, now_s: float, replicas: int) -> int:
        start = replicas + self._changed(now_s, policy.period_s, -1)
        rest = start - policy.value if policy.kind == "Pods" else math.floor(start * (1 - policy.value / 100))
        return min(replicas, rest)

    def _changed(self, now_s: float, period_s: float, sign: int) -> int:
        return sum(abs(change) for at_s, change in self._changes if now_s - at_s < period_s and change * sign > 0)

    def _change(self, now_s: float, replicas: int, number: int) -> int:
        if number != replicas:
            self._changes.append((now_s, number - replicas))
        return number


def _policies(rules: Json) -> Sequence[Policy]:
    return [Policy(policy["type"], policy["value"], policy["periodSeconds"]) for policy in rules["policies"]]
