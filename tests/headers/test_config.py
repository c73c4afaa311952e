from __future__ import annotations

from typing import Any

import pytest

from scalekit import ConfigError, create_app
from scalekit.testing.conformance import bare_application

POLICY = {"path": "/a", "hsts_max_age": "1d"}
PRELOAD = {"hsts_preload": True, "hsts_include_subdomains": True, "hsts_max_age": "365d"}


def build(table: dict[str, Any]) -> None:
    create_app({"plugins": {"headers": table}}, app=bare_application)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"frame_ancestors": ["self"]}, "expected a source such as"),
        ({"frame_ancestors": ["none"]}, "expected a source such as"),
        ({"frame_ancestors": ["https://a.example; script-src *"]}, "expected a source such as"),
        ({"frame_ancestors": ["https://a.example https://b.example"]}, "expected a source such as"),
        ({"frame_ancestors": [""]}, "expected a source such as"),
        ({"frame_ancestors": ["{nonce}"]}, "expected a source such as"),
        ({"frame_ancestors": ["'none'", "https://a.example"]}, "write it alone"),
        ({**PRELOAD, "hsts_max_age": "180d"}, "hsts_preload needs"),
        ({**PRELOAD, "hsts_include_subdomains": False}, "hsts_preload needs"),
        ({**PRELOAD, "policies": [POLICY]}, "hsts_preload needs"),
    ],
)
def test_values_that_browsers_ignore_are_refused(table: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(table)


@pytest.mark.parametrize("source", ["'self'", "'none'", "https:", "*", "self.example", "http://localhost:3000"])
def test_every_source_of_ancestors_is_accepted(source: str) -> None:
    build({"frame_ancestors": [source], **PRELOAD})
