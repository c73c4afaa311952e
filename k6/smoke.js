// One user requests every endpoint of the sample application in each iteration. Every check must pass.
import http from 'k6/http';
import { check } from 'k6';
import { scrape, sumOf } from './lib/metrics.js';
import { authenticated, login } from './lib/login.js';
import { get, post } from './lib/service.js';
import { summary, TREND_STATS } from './lib/summary.js';
import { tagSlice, withSlices } from './lib/timeline.js';

const ITERATIONS = Number(__ENV.ITERATIONS || 10);
const DURATION = ITERATIONS * 0.1; // approximate seconds
const REQUESTS = 'http_request_duration_seconds_count';
const ADDED = { method: 'POST', route: '/api/data', status: '201' };
const REJECTED = { method: 'POST', route: '/api/data', status: '422' };

export const options = {
  vus: 1,
  iterations: ITERATIONS,
  summaryTrendStats: TREND_STATS,
  thresholds: withSlices({ checks: ['rate==1.0'], http_req_failed: ['rate==0.0'] }),
};

// 401 without a token and 422 for an invalid item are expected responses.
http.setResponseCallback(http.expectedStatuses(200, 201, 401, 422));

export function setup() {
  return { before: scrape(), user: authenticated(login()) };
}

// The metrics of all workers together count every request of this run.
export function teardown({ before }) {
  const after = scrape();
  const increase = (name, labels) => sumOf(after, name, labels) - sumOf(before, name, labels);
  check(after, {
    'metrics count every accepted item': () => increase(REQUESTS, ADDED) >= ITERATIONS,
    'metrics count every rejected item': () => increase(REQUESTS, REJECTED) >= ITERATIONS,
    'the application counts its items': () => increase('sample_items_added_total', { outcome: 'stored' }) >= ITERATIONS,
  });
}

export default function ({ user }) {
  tagSlice(DURATION);
  get('/', 200, { 'page describes the login': (response) => response.body.includes('/auth/login') });
  get('/api/data', 401);
  const name = `item ${__ITER}`;
  const created = post('/api/data', { name, value: __ITER }, 201, {
    'new item has an id': (response) => response.json('id') > 0,
  }, user);
  get('/api/data', 200, {
    'newest item is first': (response) => response.json('items.0.id') === created.json('id'),
  }, user);
  post('/api/data', { nme: name }, 422, {
    'invalid item returns a problem': (response) => response.headers['Content-Type'] === 'application/problem+json',
  }, user);
  const email = `${name}-${Date.now()}@example.org`;
  post('/api/users/import', [{ email, name }, { email, name }], 201, {
    'duplicate user is skipped': (response) => response.json('added') === 1 && response.json('skipped') === 1,
  }, user);
  get('/api/users/active', 200, {
    'newest user is first and has a profile': (response) => response.json('users.0.profile.name') === name,
  }, user);
  get('/health/live', 200);
  get('/health/ready', 200, { 'service is ready': (response) => response.json('status') === 'ready' });
  get('/health', 200, { 'service is healthy': (response) => response.json('status') === 'healthy' });
}

export const handleSummary = summary('smoke', `One user requests every endpoint, ${ITERATIONS} times.`, DURATION);
