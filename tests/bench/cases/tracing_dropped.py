"""The same under tracing; no trace is kept."""

from scalekit.host import Host
from tests.bench.cases import tracing_off

PATH = tracing_off.PATH
BODY = tracing_off.BODY


def make() -> Host:
    return tracing_off.make(tracing={"sampling": {"ratio": 0.0, "slow_threshold": "1h", "slow_quantile": 0.0}})


app = make()
