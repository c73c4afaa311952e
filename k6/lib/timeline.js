// Numbers over time. A summary has one number for the whole run, and one for each tag that a threshold names; so every
// request is tagged with the slice of the run in which it began, and a threshold that always holds names each slice.
import exec from 'k6/execution';

export const SLICES = 40;
const TRACED = ['http_req_duration', 'http_reqs', 'http_req_failed'];
const ALWAYS = { http_req_duration: 'max>=0', http_reqs: 'count>=0', http_req_failed: 'rate>=0' };

// *each* has rules that every slice must keep by itself, by metric; the first that breaks one ends the run.
export function sliced(thresholds, { gauges = [], each = {} } = {}) {
  const all = { ...thresholds };
  const broken = (rule) => ({ threshold: rule, abortOnFail: true, delayAbortEval: '1s' });
  for (let slice = 0; slice < SLICES; slice += 1) {
    for (const name of TRACED) all[`${name}{slice:${slice}}`] = [ALWAYS[name], ...(each[name] || []).map(broken)];
    for (const name of gauges) all[`${name}{slice:${slice}}`] = ['value>=0'];
  }
  return all;
}

// Call it first in every iteration: what follows belongs to the slice of now.
export function mark(length) {
  const at = Math.floor((exec.instance.currentTestRunDuration / 1000 / length) * SLICES);
  exec.vu.metrics.tags.slice = String(Math.min(at, SLICES - 1));
}

// What is in a summary of each slice that saw anything.
export function timeline(data, length, gauges = []) {
  const width = length / SLICES;
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
