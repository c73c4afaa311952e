// Values over time. k6's summary has one value for the whole run and one for each tag that a threshold names, so every
// request is tagged with its slice of the run, and a threshold that always passes names each slice.
import exec from 'k6/execution';

export const SLICES = 40;
const SLICED_METRICS = ['http_req_duration', 'http_reqs', 'http_req_failed'];
const ALWAYS = { http_req_duration: 'max>=0', http_reqs: 'count>=0', http_req_failed: 'rate>=0' };

// *each* has thresholds by metric for every single slice; the first slice that breaks one ends the run.
export function withSlices(thresholds, { gauges = [], each = {} } = {}) {
  const all = { ...thresholds };
  const aborting = (rule) => ({ threshold: rule, abortOnFail: true, delayAbortEval: '1s' });
  for (let slice = 0; slice < SLICES; slice += 1) {
    for (const name of SLICED_METRICS) all[`${name}{slice:${slice}}`] = [ALWAYS[name], ...(each[name] || []).map(aborting)];
    for (const name of gauges) all[`${name}{slice:${slice}}`] = ['value>=0'];
  }
  return all;
}

// Tags the requests of this iteration with the current slice; call it first.
export function tagSlice(duration) {
  const at = Math.floor((exec.instance.currentTestRunDuration / 1000 / duration) * SLICES);
  exec.vu.metrics.tags.slice = String(Math.min(at, SLICES - 1));
}

// Returns the values of each slice with requests.
export function timeline(data, duration, gauges = []) {
  const width = duration / SLICES;
  const points = [];
  for (let slice = 0; slice < SLICES; slice += 1) {
    const of = (name) => (data.metrics[`${name}{slice:${slice}}`] || { values: {} }).values;
    const count = of('http_reqs').count || 0;
    if (count === 0) continue;
    const latency = of('http_req_duration');
    points.push({
      at: (slice + 0.5) * width,
      rate: count / width,
      failed: of('http_req_failed').rate || 0,
      p50: latency.med,
      p95: latency['p(95)'],
      p99: latency['p(99)'],
      ...Object.fromEntries(gauges.map((name) => [name, of(name).value])),
    });
  }
  return points;
}
