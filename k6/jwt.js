// Valid tokens are accepted; missing, foreign and modified ones are rejected; refresh and logout take effect.
import http from 'k6/http';
import { sleep } from 'k6';
import { runDuration } from './lib/duration.js';
import { authenticated, login, parseSession } from './lib/login.js';
import { get, post } from './lib/service.js';
import { summary, TREND_STATS } from './lib/summary.js';
import { NO_SERVER_ERRORS } from './lib/thresholds.js';
import { tagSlice, withSlices } from './lib/timeline.js';

const VUS = Number(__ENV.VUS || 10);
const DURATION = runDuration(60);
const CHALLENGED = {
  '401 has WWW-Authenticate: Bearer': (response) => (response.headers['Www-Authenticate'] || '').startsWith('Bearer'),
};

// 401 is the expected response to invalid tokens.
http.setResponseCallback(http.expectedStatuses(200, 204, 401));

export const options = {
  scenarios: { users: { executor: 'constant-vus', vus: VUS, duration: `${DURATION}s` } },
  summaryTrendStats: TREND_STATS,
  thresholds: withSlices({ ...NO_SERVER_ERRORS, checks: ['rate==1.0'], http_req_failed: ['rate==0.0'] }),
};

export default function () {
  tagSlice(DURATION);
  const session = login();
  if (session === undefined) return;
  get('/api/data', 200, {}, authenticated(session));
  checkInvalidTokens(session);
  const next = checkRefresh(session);
  if (next !== undefined) checkLogout(next);
  sleep(0.2);
}

function checkInvalidTokens(session) {
  const without = { ...session, cookies: replaceValues(session.cookies) };
  get('/api/data', 401, CHALLENGED);
  get('/api/data', 401, CHALLENGED, authenticated({ ...session, token: modify(session.token) }));
  if (Object.keys(session.cookies).length) get('/api/data', 401, CHALLENGED, authenticated(without));
}

function checkRefresh(session) {
  const response = post('/auth/refresh', { refresh_token: session.refresh }, 200, {}, authenticated(session));
  const next = parseSession(response);
  if (next === undefined) return undefined;
  next.cookies = { ...session.cookies, ...next.cookies };
  get('/api/data', 200, {}, authenticated(next));
  return next;
}

function checkLogout(session) {
  post('/auth/logout', { refresh_token: session.refresh }, 204, {}, authenticated(session));
  post('/auth/refresh', { refresh_token: session.refresh }, 401, {}, authenticated(session));
}

// Changes the middle of the signature: the last character of base64url has unused bits.
function modify(token) {
  const at = token.lastIndexOf('.') + 10;
  return token.slice(0, at) + (token[at] === 'A' ? 'B' : 'A') + token.slice(at + 1);
}

function replaceValues(cookies) {
  return Object.fromEntries(Object.keys(cookies).map((name) => [name, 'another-value']));
}

export const handleSummary = summary('jwt', `${VUS} users log in, refresh and log out; invalid tokens are rejected.`, DURATION);
