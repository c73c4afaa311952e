// The service calls another by name; every call reaches a healthy instance.
import { runDuration } from './lib/duration.js';
import { authenticated, userSession } from './lib/login.js';
import { get } from './lib/service.js';
import { summary, TREND_STATS } from './lib/summary.js';
import { NO_SERVER_ERRORS, SLO, countErrors } from './lib/thresholds.js';
import { tagSlice, withSlices } from './lib/timeline.js';

const RATE = Number(__ENV.RATE || 50);
const DURATION = runDuration(60);
const STOCK = { 1: 12, 2: 0, 3: 140 };
const ARTICLES = Object.keys(STOCK);

export const options = {
  scenarios: {
    callers: {
      executor: 'constant-arrival-rate',
      rate: RATE,
      timeUnit: '1s',
      duration: `${DURATION}s`,
      preAllocatedVUs: 20,
      maxVUs: 200,
    },
  },
  summaryTrendStats: TREND_STATS,
  thresholds: withSlices({ ...SLO, ...NO_SERVER_ERRORS, checks: ['rate==1.0'] }),
};

export default function () {
  tagSlice(DURATION);
  const article = ARTICLES[__ITER % ARTICLES.length];
  const checks = { 'stock is correct': (response) => response.json('stock') === STOCK[article] };
  countErrors(get(`/api/inventory/${article}`, 200, checks, authenticated(userSession())));
}

export const handleSummary = summary('discovery', `${RATE} calls per second to the inventory, by name.`, DURATION);
