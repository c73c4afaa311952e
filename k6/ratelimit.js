// One client sends as fast as it can: no more requests are allowed than the policy permits, the rest get 429.
import http from 'k6/http';
import { check } from 'k6';
import exec from 'k6/execution';
import { Counter } from 'k6/metrics';
import { length } from './lib/duration.js';
import { rounded } from './lib/svg_chart.js';
import { request } from './lib/service.js';
import { summary, TREND_STATS } from './lib/summary.js';
import { NO_FAULTS, judge } from './lib/thresholds.js';
import { mark, sliced } from './lib/timeline.js';

const RATE = Number(__ENV.RATE || 200);
const LENGTH = length(30);
const PATH = __ENV.PATH_LIMITED || '/';
const POLICY = /q=(\d+);w=(\d+)/;

const admitted = new Counter('admitted');
const refused = new Counter('refused');

// A 429 is what this is about, so it has not failed.
http.setResponseCallback(http.expectedStatuses(200, 429));

// One virtual user, since it counts by itself what was let in.
export const options = {
  scenarios: {
    hasty: {
      executor: 'constant-arrival-rate',
      rate: RATE,
      timeUnit: '1s',
      duration: `${LENGTH}s`,
      preAllocatedVUs: 1,
      maxVUs: 1,
    },
  },
  summaryTrendStats: TREND_STATS,
  thresholds: sliced({
    ...NO_FAULTS,
    checks: ['rate==1.0'],
    http_req_failed: ['rate==0.0'],
    [refused.name]: ['count>0'],
    [admitted.name]: ['count>0'],
  }),
};

const client = { admitted: 0, since: undefined };

export default function () {
  mark(LENGTH);
  const before = exec.instance.currentTestRunDuration / 1000;
  if (client.since === undefined) client.since = before;
  const answer = judge(request('GET', PATH));
  (answer.status === 429 ? refused : admitted).add(1);
  if (answer.status === 200) client.admitted += 1;
  const [, quota, window] = (POLICY.exec(answer.headers['Ratelimit-Policy'] || '') || [0, 0, 1]).map(Number);
  // The limit at once, and what has come back since: one more for what is on its way.
  const most = quota + ((exec.instance.currentTestRunDuration / 1000 - client.since) * quota) / window + 1;
  check(answer, { 'no more get in than the policy says': () => client.admitted <= most });
  check(answer, {
    'it says what the limit is': () => quota > 0,
    'it says what remains': (each) => /r=\d+;t=\d+/.test(each.headers.Ratelimit || ''),
  });
  if (answer.status === 429) check(answer, REFUSAL);
}

const REFUSAL = {
  'who is refused is told when to come back': (answer) => Number(answer.headers['Retry-After']) > 0,
  'and why': (answer) => answer.json('type').endsWith('#quota-exceeded'),
};

function counts(data) {
  const count = (metric) => rounded(((data.metrics[metric.name] || {}).values || { count: 0 }).count);
  return {
    facts: [
      ['let in', count(admitted)],
      ['refused', count(refused)],
    ],
  };
}

export const handleSummary = summary('ratelimit', `${RATE} requests a second of one client.`, LENGTH, { more: counts });
