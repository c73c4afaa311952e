// Every accepted item is consumed exactly once; the totals are polled until they agree.
import { check, sleep } from 'k6';
import { Counter, Trend } from 'k6/metrics';
import { runDuration } from './lib/duration.js';
import { authenticated, login, userSession } from './lib/login.js';
import { scrape, sumOf } from './lib/metrics.js';
import { get, post } from './lib/service.js';
import { summary, TREND_STATS } from './lib/summary.js';
import { NO_SERVER_ERRORS, SLO, countErrors } from './lib/thresholds.js';
import { tagSlice, withSlices } from './lib/timeline.js';

const RATE = Number(__ENV.RATE || 50);
const DURATION = runDuration(60);
const TIMEOUT = Number(__ENV.TIMEOUT || 30); // seconds that consumers may take after the last request

const accepted = new Counter('accepted_items');
const lost = new Counter('lost_messages');
const lag = new Trend('consumer_lag_seconds');

export const options = {
  scenarios: {
    writers: {
      executor: 'constant-arrival-rate',
      rate: RATE,
      timeUnit: '1s',
      duration: `${DURATION}s`,
      preAllocatedVUs: 20,
      maxVUs: 200,
    },
  },
  summaryTrendStats: TREND_STATS,
  thresholds: withSlices({
    ...SLO,
    ...NO_SERVER_ERRORS,
    checks: ['rate==1.0'],
    [lost.name]: ['count==0'],
    [accepted.name]: ['count>0'],
  }),
};

const ADDED = { outcome: 'stored' };

function storedItems() {
  return sumOf(scrape(), 'sample_items_added_total', ADDED);
}

function consumedItems(session) {
  return get('/api/stats', 200, {}, authenticated(session)).json('items');
}

export function setup() {
  return { consumed: consumedItems(login()), stored: storedItems() };
}

export default function () {
  tagSlice(DURATION);
  const item = { name: `queue-${__VU}-${__ITER}`, value: 1 };
  const response = countErrors(post('/api/data', item, 201, {}, authenticated(userSession())));
  if (response.status === 201) accepted.add(1);
}

// After all messages are consumed, the number of consumed items must equal the number of stored ones.
export function teardown(before) {
  const session = login();
  const expected = storedItems() - before.stored;
  const since = Date.now();
  let consumed = consumedItems(session) - before.consumed;
  while (consumed < expected && Date.now() - since < TIMEOUT * 1000) {
    sleep(0.2);
    consumed = consumedItems(session) - before.consumed;
  }
  lag.add((Date.now() - since) / 1000);
  lost.add(Math.max(0, expected - consumed));
  check(consumed, { 'every message is consumed exactly once': () => consumed === expected });
}

function queueFacts(data) {
  const value = (metric, key) => ((data.metrics[metric.name] || {}).values || {})[key];
  return {
    facts: [
      ['accepted items', String(value(accepted, 'count') || 0)],
      ['lost messages', String(value(lost, 'count') || 0)],
      ['consumer lag at the end', `${(value(lag, 'max') || 0).toFixed(1)} s`],
    ],
  };
}

export const handleSummary = summary('queue', `${RATE} items per second, each with a message to a consumer.`, DURATION, {
  more: queueFacts,
});
