// Reference load: users log in, verify their token, read data with it and pause for a second.
import { sleep } from 'k6';
import { fitStages, totalDuration } from './lib/duration.js';
import { authenticated, login } from './lib/login.js';
import { get } from './lib/service.js';
import { summary, TREND_STATS } from './lib/summary.js';
import { NO_SERVER_ERRORS, SLO, countErrors } from './lib/thresholds.js';
import { tagSlice, withSlices } from './lib/timeline.js';

const VUS = Number(__ENV.VUS || 100);
const STAGES = fitStages([
  { duration: '2m', target: VUS },
  { duration: '5m', target: VUS },
  { duration: '2m', target: 0 },
]);
const DURATION = totalDuration(STAGES);

export const options = {
  scenarios: { users: { executor: 'ramping-vus', stages: STAGES, gracefulRampDown: '5s' } },
  summaryTrendStats: TREND_STATS,
  thresholds: withSlices({ ...SLO, ...NO_SERVER_ERRORS, checks: ['rate>0.99'] }),
};

export default function () {
  tagSlice(DURATION);
  const session = login();
  if (session !== undefined) {
    const checks = { 'response has a list of items': (response) => Array.isArray(response.json('items')) };
    countErrors(get('/api/data', 200, checks, authenticated(session)));
  }
  sleep(1);
}

export const handleSummary = summary('load', `${VUS} users log in, read the data and pause for a second.`, DURATION);
