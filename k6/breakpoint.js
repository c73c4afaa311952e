// Raise the request rate, whatever the latency, until requests fail or cannot be sent.
import { length } from './lib/duration.js';
import { kneeReport } from './lib/saturation.js';
import { oneSession, read } from './lib/reader.js';
import { summary, TREND_STATS } from './lib/summary.js';
import { mark, sliced } from './lib/timeline.js';

const MAX = Number(__ENV.RATE || 20000);
const LENGTH = length(600);
const BOUNDS = { p95: 5000, failed: 0.05 };

export const options = {
  scenarios: {
    readers: {
      executor: 'ramping-arrival-rate',
      startRate: 50,
      timeUnit: '1s',
      preAllocatedVUs: 200,
      maxVUs: 3000,
      stages: [{ duration: `${LENGTH}s`, target: MAX }],
    },
  },
  summaryTrendStats: TREND_STATS,
  thresholds: sliced(
    { dropped_iterations: [{ threshold: `count<${MAX}`, abortOnFail: true }] },
    { each: { http_req_duration: [`p(95)<${BOUNDS.p95}`], http_req_failed: [`rate<${BOUNDS.failed}`] } },
  ),
};

export const setup = oneSession;

export default function (session) {
  mark(LENGTH);
  read(session);
}

export const handleSummary = summary('breakpoint', `Up to ${MAX} requests a second, until the service breaks.`, LENGTH, {
  bound: BOUNDS.p95,
  more: kneeReport(BOUNDS),
});
