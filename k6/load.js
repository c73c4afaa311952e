// Reference load: users log in, verify their token, read data with it and pause for a second.
import { sleep } from 'k6';
import { fitted, total } from './lib/duration.js';
import { bearer, login } from './lib/login.js';
import { get } from './lib/service.js';
import { summary, TREND_STATS } from './lib/summary.js';
import { NO_FAULTS, PROMISED, judge } from './lib/thresholds.js';
import { mark, sliced } from './lib/timeline.js';

const VUS = Number(__ENV.VUS || 100);
const STAGES = fitted([
  { duration: '2m', target: VUS },
  { duration: '5m', target: VUS },
  { duration: '2m', target: 0 },
]);
const LENGTH = total(STAGES);

export const options = {
  scenarios: { users: { executor: 'ramping-vus', stages: STAGES, gracefulRampDown: '5s' } },
  summaryTrendStats: TREND_STATS,
  thresholds: sliced({ ...PROMISED, ...NO_FAULTS, checks: ['rate>0.99'] }),
};

export default function () {
  mark(LENGTH);
  const session = login();
  if (session !== undefined) {
    judge(get('/api/data', 200, { 'the data is a list': (answer) => Array.isArray(answer.json('items')) }, bearer(session)));
  }
  sleep(1);
}

export const handleSummary = summary('load', `${VUS} users log in, read the data and think for a second.`, LENGTH);
