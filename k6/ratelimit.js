// One client sends as fast as it can: no more requests are allowed than the policy permits, the rest get 429.
import http from 'k6/http';
import { check } from 'k6';
import exec from 'k6/execution';
import { Counter } from 'k6/metrics';
import { runDuration } from './lib/duration.js';
import { round } from './lib/svg_chart.js';
import { request } from './lib/service.js';
import { summary, TREND_STATS } from './lib/summary.js';
import { NO_SERVER_ERRORS, countErrors } from './lib/thresholds.js';
import { tagSlice, withSlices } from './lib/timeline.js';

const RATE = Number(__ENV.RATE || 200);
const DURATION = runDuration(30);
const PATH = __ENV.TARGET_PATH || '/';
const POLICY = /q=(\d+);w=(\d+)/;

const allowed = new Counter('allowed');
const rejected = new Counter('rejected');

// 429 is an expected response.
http.setResponseCallback(http.expectedStatuses(200, 429));

// One virtual user, since it counts the allowed requests itself.
export const options = {
  scenarios: {
    client: {
      executor: 'constant-arrival-rate',
      rate: RATE,
      timeUnit: '1s',
      duration: `${DURATION}s`,
      preAllocatedVUs: 1,
      maxVUs: 1,
    },
  },
  summaryTrendStats: TREND_STATS,
  thresholds: withSlices({
    ...NO_SERVER_ERRORS,
    checks: ['rate==1.0'],
    http_req_failed: ['rate==0.0'],
    [rejected.name]: ['count>0'],
    [allowed.name]: ['count>0'],
  }),
};

const client = { allowed: 0, since: undefined };

export default function () {
  tagSlice(DURATION);
  const before = exec.instance.currentTestRunDuration / 1000;
  if (client.since === undefined) client.since = before;
  const response = countErrors(request('GET', PATH));
  (response.status === 429 ? rejected : allowed).add(1);
  if (response.status === 200) client.allowed += 1;
  const [, quota, window] = (POLICY.exec(response.headers['Ratelimit-Policy'] || '') || [0, 0, 1]).map(Number);
  // The quota, what has been replenished since, and one request in flight.
  const limit = quota + ((exec.instance.currentTestRunDuration / 1000 - client.since) * quota) / window + 1;
  check(response, { 'allowed requests do not exceed the policy': () => client.allowed <= limit });
  check(response, {
    'response has RateLimit-Policy': () => quota > 0,
    'response has RateLimit': ({ headers }) => /r=\d+;t=\d+/.test(headers.Ratelimit || ''),
  });
  if (response.status === 429) check(response, REJECTION);
}

const REJECTION = {
  '429 has Retry-After': (response) => Number(response.headers['Retry-After']) > 0,
  '429 has the problem type quota-exceeded': (response) => response.json('type').endsWith('#quota-exceeded'),
};

function limitFacts(data) {
  const count = (metric) => round(((data.metrics[metric.name] || {}).values || { count: 0 }).count);
  return {
    facts: [
      ['allowed', count(allowed)],
      ['rejected', count(rejected)],
    ],
  };
}

export const handleSummary = summary('ratelimit', `${RATE} requests per second from one client.`, DURATION, { more: limitFacts });
