// Valid tokens are accepted; missing, foreign and modified ones are rejected; refresh and logout take effect.
import http from 'k6/http';
import { sleep } from 'k6';
import { length } from './lib/duration.js';
import { bearer, login, sessionOf } from './lib/login.js';
import { get, post } from './lib/service.js';
import { summary, TREND_STATS } from './lib/summary.js';
import { NO_FAULTS } from './lib/thresholds.js';
import { mark, sliced } from './lib/timeline.js';

const VUS = Number(__ENV.VUS || 10);
const LENGTH = length(60);
const CHALLENGED = {
  'it is told how to ask': (answer) => (answer.headers['Www-Authenticate'] || '').startsWith('Bearer'),
};

// That strangers are refused is no failure.
http.setResponseCallback(http.expectedStatuses(200, 204, 401));

export const options = {
  scenarios: { users: { executor: 'constant-vus', vus: VUS, duration: `${LENGTH}s` } },
  summaryTrendStats: TREND_STATS,
  thresholds: sliced({ ...NO_FAULTS, checks: ['rate==1.0'], http_req_failed: ['rate==0.0'] }),
};

export default function () {
  mark(LENGTH);
  const session = login();
  if (session === undefined) return;
  get('/api/data', 200, {}, bearer(session));
  strangers(session);
  const next = refreshed(session);
  if (next !== undefined) loggedOut(next);
  sleep(0.2);
}

function strangers(session) {
  const without = { ...session, cookies: blank(session.cookies) };
  get('/api/data', 401, CHALLENGED);
  get('/api/data', 401, CHALLENGED, bearer({ ...session, token: changed(session.token) }));
  if (Object.keys(session.cookies).length) get('/api/data', 401, CHALLENGED, bearer(without));
}

function refreshed(session) {
  const answer = post('/auth/refresh', { refresh_token: session.refresh }, 200, {}, bearer(session));
  const next = sessionOf(answer);
  if (next === undefined) return undefined;
  next.cookies = { ...session.cookies, ...next.cookies };
  get('/api/data', 200, {}, bearer(next));
  return next;
}

function loggedOut(session) {
  post('/auth/logout', { refresh_token: session.refresh }, 204, {}, bearer(session));
  post('/auth/refresh', { refresh_token: session.refresh }, 401, {}, bearer(session));
}

// The middle of the signature: the last letter of base64url may stand for the same bytes as another.
function changed(token) {
  const at = token.lastIndexOf('.') + 10;
  return token.slice(0, at) + (token[at] === 'A' ? 'B' : 'A') + token.slice(at + 1);
}

function blank(cookies) {
  return Object.fromEntries(Object.keys(cookies).map((name) => [name, 'of-somebody-else']));
}

export const handleSummary = summary('jwt', `${VUS} users log in, refresh and log out; strangers try to.`, LENGTH);
