// A constant request rate above capacity: accepted requests, their latency, and shed requests.
import http from 'k6/http';
import exec from 'k6/execution';
import { Counter, Trend } from 'k6/metrics';
import { BASE_URL } from './lib/service.js';

const RATE = Number(__ENV.RATE || 100);
const SECONDS = Number(__ENV.SECONDS || 10);
const WARM_UP = Number(__ENV.WARM_UP || 3);
const PATIENCE = Number(__ENV.PATIENCE || 1);
const PATH = __ENV.PATH_ASKED || '/';
const USERS = Math.ceil(RATE * PATIENCE * 1.2) + 20;

export const options = {
  discardResponseBodies: true,
  summaryTrendStats: ['med', 'p(99)', 'count'],
  scenarios: {
    offered: {
      executor: 'constant-arrival-rate',
      rate: RATE,
      timeUnit: '1s',
      duration: `${WARM_UP + SECONDS}s`,
      preAllocatedVUs: USERS,
      maxVUs: USERS,
    },
  },
};

const accepted = new Trend('accepted', true);
const refused = new Counter('refused');
const failed = new Counter('failed');

http.setResponseCallback(http.expectedStatuses(200, 429, 503));

export default function () {
  const counts = exec.instance.currentTestRunDuration >= WARM_UP * 1000;
  const answer = http.get(BASE_URL + PATH, { timeout: `${PATIENCE}s` });
  if (!counts) {
    return;
  }
  if (answer.status === 200) {
    accepted.add(answer.timings.duration);
  } else if (answer.status === 503) {
    refused.add(1);
  } else {
    failed.add(1);
  }
}
