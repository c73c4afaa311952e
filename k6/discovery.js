// The service calls another by name; every call reaches a healthy instance.
import { length } from './lib/duration.js';
import { bearer, ownSession } from './lib/login.js';
import { get } from './lib/service.js';
import { summary, TREND_STATS } from './lib/summary.js';
import { NO_FAULTS, PROMISED, judge } from './lib/thresholds.js';
import { mark, sliced } from './lib/timeline.js';

const RATE = Number(__ENV.RATE || 50);
const LENGTH = length(60);
const STOCK = { 1: 12, 2: 0, 3: 140 };
const ARTICLES = Object.keys(STOCK);

export const options = {
  scenarios: {
    askers: {
      executor: 'constant-arrival-rate',
      rate: RATE,
      timeUnit: '1s',
      duration: `${LENGTH}s`,
      preAllocatedVUs: 20,
      maxVUs: 200,
    },
  },
  summaryTrendStats: TREND_STATS,
  thresholds: sliced({ ...PROMISED, ...NO_FAULTS, checks: ['rate==1.0'] }),
};

export default function () {
  mark(LENGTH);
  const article = ARTICLES[__ITER % ARTICLES.length];
  const right = { 'the stock is right': (answer) => answer.json('stock') === STOCK[article] };
  judge(get(`/api/inventory/${article}`, 200, right, bearer(ownSession())));
}

export const handleSummary = summary('discovery', `${RATE} calls a second to the inventory, by name.`, LENGTH);
