"""The names of ``django.tasks``, or of its backport ``django_tasks`` with a Django before 6."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import django

_PACKAGE = "django.tasks" if django.VERSION[0] >= 6 else "django_tasks"


def _load(module: str) -> Any:
    try:
        return import_module(f"{_PACKAGE}{module}")
    except ModuleNotFoundError as error:
        if error.name != "django_tasks":
            raise
        raise ModuleNotFoundError("tasks need Django 6, or the package django-tasks with a Django before") from error


_tasks, _base, _exceptions = _load(""), _load(".base"), _load(".exceptions")

task_backends = _tasks.task_backends
signals = _load(".signals")
BaseTaskBackend = _load(".backends.base").BaseTaskBackend
Task, TaskContext, TaskError = _base.Task, _base.TaskContext, _base.TaskError
TaskResult, TaskResultStatus = _base.TaskResult, _base.TaskResultStatus
TaskResultDoesNotExist = _exceptions.TaskResultDoesNotExist
InvalidTask = getattr(_exceptions, "InvalidTask", None) or _exceptions.InvalidTaskError
normalize_json = _base.normalize_json
