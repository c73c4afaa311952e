// A constant request rate above capacity: accepted requests, their latency, and shed requests.
import http from 'k6/http';
import exec from 'k6/execution';
import { Counter, Trend } from 'k6/metrics';
import { BASE_URL } from './lib/service.js';

const RATE = Number(__ENV.RATE || 100);
const SECONDS = Number(__ENV.SECONDS || 10);
const WARM_UP = Number(__ENV.WARM_UP || 3);
const TIMEOUT = Number(__ENV.TIMEOUT || 1);
const PATH = __ENV.TARGET_PATH || '/';
const USERS = Math.ceil(RATE * TIMEOUT * 1.2) + 20;

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
const shed = new Counter('shed');
const failed = new Counter('failed');

http.setResponseCallback(http.expectedStatuses(200, 429, 503));

export default function () {
  const warm = exec.instance.currentTestRunDuration >= WARM_UP * 1000;
  const response = http.get(BASE_URL + PATH, { timeout: `${TIMEOUT}s` });
  if (!warm) {
    return;
  }
  if (response.status === 200) {
    accepted.add(response.timings.duration);
  } else if (response.status === 503) {
    shed.add(1);
  } else {
    failed.add(1);
  }
}
