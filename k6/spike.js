// Ten times the request rate from one second to the next, for 30 seconds, and recovery afterwards.
import http from 'k6/http';
import { fitted, total } from './lib/duration.js';
import { oneSession, read } from './lib/reader.js';
import { summary, TREND_STATS } from './lib/summary.js';
import { NO_FAULTS } from './lib/thresholds.js';
import { mark, sliced } from './lib/timeline.js';

const RATE = Number(__ENV.RATE || 30);
const STAGES = fitted([
  { duration: '20s', target: RATE },
  { duration: '1s', target: RATE * 10 },
  { duration: '30s', target: RATE * 10 },
  { duration: '1s', target: RATE },
  { duration: '20s', target: RATE },
]);
const LENGTH = total(STAGES);

// What the file asks to be shed, with 429 or 503, has not failed; any other 5xx is a fault.
http.setResponseCallback(http.expectedStatuses(200, 429, 503));

export const options = {
  scenarios: {
    readers: {
      executor: 'ramping-arrival-rate',
      startRate: RATE,
      timeUnit: '1s',
      preAllocatedVUs: 50,
      maxVUs: 300,
      stages: STAGES,
    },
  },
  summaryTrendStats: TREND_STATS,
  thresholds: sliced({ ...NO_FAULTS, http_req_failed: ['rate<0.01'], dropped_iterations: [`count<${RATE * 3}`] }),
};

export const setup = oneSession;

export default function (session) {
  mark(LENGTH);
  read(session);
}

export const handleSummary = summary('spike', `${RATE} requests a second, and ten times as many for a while.`, LENGTH);
