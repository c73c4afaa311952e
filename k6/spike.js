// Ten times the request rate from one second to the next, for 30 seconds, and recovery afterwards.
import http from 'k6/http';
import { fitStages, totalDuration } from './lib/duration.js';
import { sharedSession, read } from './lib/reader.js';
import { summary, TREND_STATS } from './lib/summary.js';
import { NO_SERVER_ERRORS } from './lib/thresholds.js';
import { tagSlice, withSlices } from './lib/timeline.js';

const RATE = Number(__ENV.RATE || 30);
const STAGES = fitStages([
  { duration: '20s', target: RATE },
  { duration: '1s', target: RATE * 10 },
  { duration: '30s', target: RATE * 10 },
  { duration: '1s', target: RATE },
  { duration: '20s', target: RATE },
]);
const DURATION = totalDuration(STAGES);

// Shed requests (429, 503) are expected; any other 5xx is a server error.
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
  thresholds: withSlices({ ...NO_SERVER_ERRORS, http_req_failed: ['rate<0.01'], dropped_iterations: [`count<${RATE * 3}`] }),
};

export const setup = sharedSession;

export default function (session) {
  tagSlice(DURATION);
  read(session);
}

export const handleSummary = summary('spike', `${RATE} requests per second, and ten times as many for 30 seconds.`, DURATION);
