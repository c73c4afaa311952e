from __future__ import annotations

import logging

import pytest

from scalekit_logging.levels import LevelThreshold, LevelThresholds, name_of


@pytest.mark.parametrize(
    ("number", "name"), [(1, "debug"), (10, "debug"), (25, "info"), (30, "warning"), (49, "error"), (999, "critical")]
)
def test_a_number_between_levels_has_the_name_of_the_lower_level(number: int, name: str) -> None:
    assert name_of(number) == name


@pytest.mark.parametrize(
    ("logger", "threshold"),
    [
        ("other", LevelThreshold(logging.INFO, logging.DEBUG)),
        ("shopping", LevelThreshold(logging.INFO, logging.DEBUG)),
        ("shop", LevelThreshold(logging.ERROR, logging.ERROR)),
        ("shop.cart.items", LevelThreshold(logging.ERROR, logging.ERROR)),
        ("shop.orders.new", LevelThreshold(logging.DEBUG, logging.DEBUG)),
    ],
)
def test_a_logger_has_the_threshold_of_its_nearest_ancestor(logger: str, threshold: LevelThreshold) -> None:
    thresholds = LevelThresholds("INFO", {"shop": "ERROR", "shop.orders": "DEBUG"}, tail_sampling=True)
    assert thresholds.of(logger) == threshold
    assert thresholds.of(logger) == threshold, "cached"
