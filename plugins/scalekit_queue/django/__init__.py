"""A backend of Django's tasks that stores them in the queue; needs Django 6, or 5.2 with ``django-tasks``."""

from scalekit_queue.django.backend import ScaleKitBackend, task_consumers

__all__ = ["ScaleKitBackend", "task_consumers"]
