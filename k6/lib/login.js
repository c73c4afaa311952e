// The user of the sample application.
import http from 'k6/http';
import { BASE_URL, post } from './service.js';

export const USER = { username: __ENV.USERNAME || 'testuser', password: __ENV.PASSWORD || 'testpass' };
const PARTS_OF_A_TOKEN = /^[\w-]+\.[\w-]+\.[\w-]+$/;

// For setup(): has every thread of every worker look at a password, since each keeps the memory that its first one takes.
export function manyPasswords(count) {
  const headers = { 'Content-Type': 'application/json' };
  const params = { headers, responseCallback: http.expectedStatuses(401, 429) };
  const attempt = (number) => {
    return ['POST', `${BASE_URL}/auth/login`, JSON.stringify({ username: `nobody-${number}`, password: 'wrong' }), params];
  };
  http.batch(Array.from({ length: count }, (_, number) => attempt(number)));
}

// Logs in, checks the token, and returns a session; undefined where there is none.
export function login() {
  const answer = post('/auth/login', USER, 200, {
    'a token is given': (response) => response.status === 200 && PARTS_OF_A_TOKEN.test(response.json('token')),
  });
  return sessionOf(answer);
}

// What a session is: the tokens, and the cookie that they are bound to.
export function sessionOf(answer) {
  if (answer.status !== 200) return undefined;
  const cookies = Object.fromEntries(Object.entries(answer.cookies).map(([name, [{ value }]]) => [name, value]));
  return { token: answer.json('token'), refresh: answer.json('refresh_token'), cookies };
}

// Headers and cookies of a request in *session*; the cookies stand in for those that were kept by themselves.
export function bearer(session) {
  if (session === undefined) return {};
  const cookies = Object.entries(session.cookies).map(([name, value]) => [name, { value, replace: true }]);
  return { headers: { Authorization: `Bearer ${session.token}` }, cookies: Object.fromEntries(cookies) };
}

// A session for each virtual user, who logs in again every minute.
const kept = { session: undefined, until: 0 };

export function ownSession() {
  if (Date.now() > kept.until) {
    kept.session = login();
    kept.until = Date.now() + 60000;
  }
  return kept.session;
}
