// Every accepted item is consumed exactly once; the totals are polled until they agree.
import { check, sleep } from 'k6';
import { Counter, Trend } from 'k6/metrics';
import { length } from './lib/duration.js';
import { bearer, login, ownSession } from './lib/login.js';
import { scrape, total } from './lib/metrics.js';
import { get, post } from './lib/service.js';
import { summary, TREND_STATS } from './lib/summary.js';
import { NO_FAULTS, PROMISED, judge } from './lib/thresholds.js';
import { mark, sliced } from './lib/timeline.js';

const RATE = Number(__ENV.RATE || 50);
const LENGTH = length(60);
const PATIENCE = Number(__ENV.PATIENCE || 30); // seconds for consumers to come to an end

const taken = new Counter('items_taken');
const lost = new Counter('messages_not_counted');
const behind = new Trend('seconds_behind');

export const options = {
  scenarios: {
    writers: {
      executor: 'constant-arrival-rate',
      rate: RATE,
      timeUnit: '1s',
      duration: `${LENGTH}s`,
      preAllocatedVUs: 20,
      maxVUs: 200,
    },
  },
  summaryTrendStats: TREND_STATS,
  thresholds: sliced({ ...PROMISED, ...NO_FAULTS, checks: ['rate==1.0'], [lost.name]: ['count==0'], [taken.name]: ['count>0'] }),
};

const ADDED = { outcome: 'stored' };

function kept() {
  return total(scrape(), 'sample_items_added_total', ADDED);
}

function counted(session) {
  return get('/api/stats', 200, {}, bearer(session)).json('items');
}

export function setup() {
  return { counted: counted(login()), kept: kept() };
}

export default function () {
  mark(LENGTH);
  const answer = judge(post('/api/data', { name: `queue-${__VU}-${__ITER}`, value: 1 }, 201, {}, bearer(ownSession())));
  if (answer.status === 201) taken.add(1);
}

// What the service says it has kept in this run must be counted, no more and no less, once all messages are worked off.
export function teardown(before) {
  const session = login();
  const wanted = kept() - before.kept;
  const since = Date.now();
  let found = counted(session) - before.counted;
  while (found < wanted && Date.now() - since < PATIENCE * 1000) {
    sleep(0.2);
    found = counted(session) - before.counted;
  }
  behind.add((Date.now() - since) / 1000);
  lost.add(Math.max(0, wanted - found));
  check(found, { 'every message is counted, once': () => found === wanted });
}

function facts(data) {
  const value = (metric, key) => ((data.metrics[metric.name] || {}).values || {})[key];
  return {
    facts: [
      ['items taken', String(value(taken, 'count') || 0)],
      ['messages not counted', String(value(lost, 'count') || 0)],
      ['consumers were behind for', `${(value(behind, 'max') || 0).toFixed(1)} s`],
    ],
  };
}

export const handleSummary = summary('queue', `${RATE} items a second, each with a message to a consumer.`, LENGTH, {
  more: facts,
});
