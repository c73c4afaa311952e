"""Files from which no proxy can be generated."""

from __future__ import annotations

import pytest

from scalekit import ConfigError
from scalekit.deploy import describe_proxy
from tests.host.deploy.conftest import Describe
from tests.host.deploy.proxy_files import NO_OPTIONS


@pytest.mark.parametrize(
    ("server", "message"),
    [
        ('role = "worker"', "server.role: an instance of this role serves no requests of clients"),
        ('port = "${NO_SUCH_PORT}"', "NO_SUCH_PORT is not set; set it as in the environment of the service, or name"),
        ('host = "unix:/run/a b.sock"', "server.host: a proxy needs a socket whose path has only letters, digits"),
        ('max_body = "${NO_SUCH_SIZE}"', "server.max_body: environment variable NO_SUCH_SIZE is not set"),
    ],
)
def test_a_file_without_what_a_proxy_needs_is_refused_with_a_remedy(
    server: str, message: str, describe: Describe
) -> None:
    with pytest.raises(ConfigError) as caught:
        describe_proxy(describe(f"[server]\n{server}\n"), NO_OPTIONS)
    assert message in str(caught.value)


def test_variables_that_a_proxy_does_not_need_may_be_unset(describe: Describe) -> None:
    service = describe('[server]\nport = "${NO_SUCH_PORT}"\noperator_token = "${NO_SUCH_TOKEN}"\n')
    proxy = describe_proxy(service, NO_OPTIONS | {"instances": ("10.0.0.5:80",)})
    assert [each.address for each in proxy.instances] == ["10.0.0.5:80"]
