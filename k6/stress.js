// Raise the request rate until an interval of the run breaks the thresholds: the saturation point.
import { runDuration } from './lib/duration.js';
import { kneeReport } from './lib/saturation.js';
import { sharedSession, read } from './lib/reader.js';
import { summary, TREND_STATS } from './lib/summary.js';
import { LATENCY } from './lib/thresholds.js';
import { tagSlice, withSlices } from './lib/timeline.js';

const MAX = Number(__ENV.RATE || 5000);
const DURATION = runDuration(300);
const BOUNDS = { p95: LATENCY, failed: 0.01 };

export const options = {
  scenarios: {
    readers: {
      executor: 'ramping-arrival-rate',
      startRate: 20,
      timeUnit: '1s',
      preAllocatedVUs: 100,
      maxVUs: 1000,
      stages: [{ duration: `${DURATION}s`, target: MAX }],
    },
  },
  summaryTrendStats: TREND_STATS,
  thresholds: withSlices({}, { each: { http_req_duration: [`p(95)<${BOUNDS.p95}`], http_req_failed: [`rate<${BOUNDS.failed}`] } }),
};

export const setup = sharedSession;

export default function (session) {
  tagSlice(DURATION);
  read(session);
}

export const handleSummary = summary('stress', `Up to ${MAX} requests per second, until the thresholds break.`, DURATION, {
  bound: BOUNDS.p95,
  more: kneeReport(BOUNDS),
});
