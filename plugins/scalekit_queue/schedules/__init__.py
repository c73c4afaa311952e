"""Schedules: ticks that are published once over all instances and workers."""
