from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scalekit_console.request_sampler import RequestSampler
from scalekit_console.sampler import GROUP, SAMPLES, Sample, WorkerSampler


def sample(at: int, buckets: Mapping[int, int] = {20: 1}) -> Sample:
    return Sample(at, 0, 1, 0.5, 100, 0.001, dict(buckets))


def counted(description: Mapping[str, Any]) -> int:
    return sum(sum(group[-1].values()) for group in description["groups"])


def test_groups_have_every_sample_once_while_samples_are_added() -> None:
    sampler = WorkerSampler(RequestSampler())
    for at in range(1000, 1000 + SAMPLES):
        sampler.samples.append(sample(at))
        if at % 7 == 0:
            sampler.describe()
    described = sampler.describe()
    assert counted(described) == SAMPLES
    assert [group[0] for group in described["groups"]] == list(range(1000, 1000 + SAMPLES, GROUP))


def test_groups_and_samples_are_bounded() -> None:
    sampler = WorkerSampler(RequestSampler())
    for at in range(5 * SAMPLES):
        sampler.samples.append(sample(at))
        sampler.describe()
    assert len(sampler.describe()["groups"]) <= SAMPLES // GROUP + 1
    assert counted(sampler.describe()) <= SAMPLES + GROUP
