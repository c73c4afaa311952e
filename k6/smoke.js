// One user requests every endpoint of the sample application in each iteration. Every check must pass.
import http from 'k6/http';
import { check } from 'k6';
import { scrape, total } from './lib/metrics.js';
import { bearer, login } from './lib/login.js';
import { get, post } from './lib/service.js';
import { summary, TREND_STATS } from './lib/summary.js';
import { mark, sliced } from './lib/timeline.js';

const ITERATIONS = Number(__ENV.ITERATIONS || 10);
const LENGTH = ITERATIONS * 0.1; // seconds that it takes, about
const REQUESTS = 'http_request_duration_seconds_count';
const ADDED = { method: 'POST', route: '/api/data', status: '201' };
const REFUSED = { method: 'POST', route: '/api/data', status: '422' };

export const options = {
  vus: 1,
  iterations: ITERATIONS,
  summaryTrendStats: TREND_STATS,
  thresholds: sliced({ checks: ['rate==1.0'], http_req_failed: ['rate==0.0'] }),
};

// A 401 is what a stranger should get and a 422 a bad item, so they do not count as failed requests.
http.setResponseCallback(http.expectedStatuses(200, 201, 401, 422));

export function setup() {
  return { before: scrape(), me: bearer(login()) };
}

// Over however many workers: what this run has sent is counted when it ends.
export function teardown({ before }) {
  const after = scrape();
  const counted = (name, labels) => total(after, name, labels) - total(before, name, labels);
  check(after, {
    'every item added is a request counted': () => counted(REQUESTS, ADDED) >= ITERATIONS,
    'every item refused is a request counted': () => counted(REQUESTS, REFUSED) >= ITERATIONS,
    'the service counts its items': () => counted('sample_items_added_total', { outcome: 'stored' }) >= ITERATIONS,
  });
}

export default function ({ me }) {
  mark(LENGTH);
  get('/', 200, { 'the page tells how to log in': (answer) => answer.body.includes('/auth/login') });
  get('/api/data', 401);
  const name = `item ${__ITER}`;
  const made = post('/api/data', { name, value: __ITER }, 201, {
    'the new item has an id': (answer) => answer.json('id') > 0,
  }, me);
  get('/api/data', 200, {
    'the newest item comes first': (answer) => answer.json('items.0.id') === made.json('id'),
  }, me);
  post('/api/data', { nme: name }, 422, {
    'a bad item is a problem': (answer) => answer.headers['Content-Type'] === 'application/problem+json',
  }, me);
  const email = `${name}-${Date.now()}@example.org`;
  post('/api/users/import', [{ email, name }, { email, name }], 201, {
    'a user is imported once': (answer) => answer.json('added') === 1 && answer.json('skipped') === 1,
  }, me);
  get('/api/users/active', 200, {
    'the newest user comes first, with a profile': (answer) => answer.json('users.0.profile.name') === name,
  }, me);
  get('/health/live', 200);
  get('/health/ready', 200, { 'it is ready': (answer) => answer.json('status') === 'ready' });
  get('/health', 200, { 'it is healthy': (answer) => answer.json('status') === 'healthy' });
}

export const handleSummary = summary('smoke', `One user asks every endpoint, ${ITERATIONS} times.`, LENGTH);
