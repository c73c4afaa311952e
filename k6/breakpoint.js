// Raise the request rate, whatever the latency, until requests fail or cannot be sent.
import { runDuration } from './lib/duration.js';
import { kneeReport } from './lib/saturation.js';
import { sharedSession, read } from './lib/reader.js';
import { summary, TREND_STATS } from './lib/summary.js';
import { tagSlice, withSlices } from './lib/timeline.js';

const MAX = Number(__ENV.RATE || 20000);
const DURATION = runDuration(600);
const BOUNDS = { p95: 5000, failed: 0.05 };

export const options = {
  scenarios: {
    readers: {
      executor: 'ramping-arrival-rate',
      startRate: 50,
      timeUnit: '1s',
      preAllocatedVUs: 200,
      maxVUs: 3000,
      stages: [{ duration: `${DURATION}s`, target: MAX }],
    },
  },
  summaryTrendStats: TREND_STATS,
  thresholds: withSlices(
    { dropped_iterations: [{ threshold: `count<${MAX}`, abortOnFail: true }] },
    { each: { http_req_duration: [`p(95)<${BOUNDS.p95}`], http_req_failed: [`rate<${BOUNDS.failed}`] } },
  ),
};

export const setup = sharedSession;

export default function (session) {
  tagSlice(DURATION);
  read(session);
}

export const handleSummary = summary('breakpoint', `Up to ${MAX} requests per second, until the service breaks.`, DURATION, {
  bound: BOUNDS.p95,
  more: kneeReport(BOUNDS),
});
