// A steady mix of requests during failures: reads, writes, logins, and a page that needs no backend.
// Every response is a sample of `responses`, tagged with the kind of its request and its status.
import exec from 'k6/execution';
import { Trend } from 'k6/metrics';
import { runDuration } from './lib/duration.js';
import { USER, authenticated, parseSession } from './lib/login.js';
import { request } from './lib/service.js';
import { summary, TREND_STATS } from './lib/summary.js';
import { NO_SERVER_ERRORS, countErrors } from './lib/thresholds.js';
import { tagSlice, withSlices } from './lib/timeline.js';

const RATE = Number(__ENV.RATE || 50);
const DURATION = runDuration(120);
const KINDS = ['read', 'plain', 'write', 'read', 'plain', 'read', 'write', 'read', 'plain', 'login'];

const responses = new Trend('responses', true);

export const options = {
  scenarios: {
    clients: {
      executor: 'constant-arrival-rate',
      rate: RATE,
      timeUnit: '1s',
      duration: `${DURATION}s`,
      preAllocatedVUs: 50,
      maxVUs: 500,
    },
  },
  summaryTrendStats: TREND_STATS,
  thresholds: withSlices(NO_SERVER_ERRORS),
};

let session;

const SEND = {
  plain: () => request('GET', '/'),
  login: logIn,
  read: () => authorized('GET'),
  write: (name) => authorized('POST', { name, value: 1 }),
};

function logIn() {
  const response = request('POST', '/auth/login', USER);
  session = parseSession(response) || session;
  return response;
}

// Logs in first without a session or after a 401; returns the login response when that fails.
function authorized(method, content = null) {
  if (session === undefined) {
    const response = logIn();
    if (response.status !== 200) return { ...response, kind: 'login' };
  }
  const response = request(method, '/api/data', content, authenticated(session));
  if (response.status === 401) session = undefined;
  return response;
}

export default function () {
  tagSlice(DURATION);
  const number = exec.scenario.iterationInTest;
  const kind = KINDS[number % KINDS.length];
  const item = kind === 'write' ? `drill-${number}` : '';
  const response = SEND[kind](item);
  countErrors(response);
  const retry = response.headers && response.headers['Retry-After'] ? 'yes' : 'no';
  responses.add(response.timings.duration, { kind: response.kind || kind, code: String(response.status), retry, item });
}

export const handleSummary = summary('failover', `${RATE} requests per second of all kinds, while backends fail.`, DURATION);
