"""The same; each trace is kept and exported."""

from scalekit.host import Host
from tests.bench.cases import tracing_off
from tests.bench.cases.discarding_collector import start_collector

PATH = tracing_off.PATH
BODY = tracing_off.BODY


def make() -> Host:
    sampling = {"ratio": 1.0, "slow_threshold": "1h", "slow_quantile": 0.0, "max_traces_per_second": 1e9}
    options = {"endpoint": start_collector(), "export_interval": "10ms", "max_queued_spans": 10_000_000}
    return tracing_off.make(tracing={**options, "sampling": sampling})


app = make()
