// A steady mix of requests during failures: reads, writes, logins, and a page that needs no backend.
// Beside k6's own figures, every answer is a sample of `answered`, tagged with what was asked and what came of it.
import exec from 'k6/execution';
import { Trend } from 'k6/metrics';
import { length } from './lib/duration.js';
import { USER, bearer, sessionOf } from './lib/login.js';
import { request } from './lib/service.js';
import { summary, TREND_STATS } from './lib/summary.js';
import { NO_FAULTS, judge } from './lib/thresholds.js';
import { mark, sliced } from './lib/timeline.js';

const RATE = Number(__ENV.RATE || 50);
const LENGTH = length(120);
const KINDS = ['read', 'plain', 'write', 'read', 'plain', 'read', 'write', 'read', 'plain', 'login'];

const answered = new Trend('answered', true);

export const options = {
  scenarios: {
    clients: {
      executor: 'constant-arrival-rate',
      rate: RATE,
      timeUnit: '1s',
      duration: `${LENGTH}s`,
      preAllocatedVUs: 50,
      maxVUs: 500,
    },
  },
  summaryTrendStats: TREND_STATS,
  thresholds: sliced(NO_FAULTS),
};

let session;

const ASK = {
  plain: () => request('GET', '/'),
  login: logIn,
  read: () => authorized('GET'),
  write: (name) => authorized('POST', { name, value: 1 }),
};

function logIn() {
  const answer = request('POST', '/auth/login', USER);
  session = sessionOf(answer) || session;
  return answer;
}

// Without a session, or with a token that has ended, a login comes first; where that fails, it is what was answered.
function authorized(method, content = null) {
  if (session === undefined) {
    const answer = logIn();
    if (answer.status !== 200) return { ...answer, kind: 'login' };
  }
  const answer = request(method, '/api/data', content, bearer(session));
  if (answer.status === 401) session = undefined;
  return answer;
}

export default function () {
  mark(LENGTH);
  const number = exec.scenario.iterationInTest;
  const kind = KINDS[number % KINDS.length];
  const item = kind === 'write' ? `drill-${number}` : '';
  const answer = ASK[kind](item);
  judge(answer);
  const retry = answer.headers && answer.headers['Retry-After'] ? 'yes' : 'no';
  answered.add(answer.timings.duration, { kind: answer.kind || kind, code: String(answer.status), retry, item });
}

export const handleSummary = summary('failover', `${RATE} requests a second of every kind, whatever fails.`, LENGTH);
