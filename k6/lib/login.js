// Login to the sample application.
import http from 'k6/http';
import { BASE_URL, post } from './service.js';

export const USER = { username: __ENV.USERNAME || 'testuser', password: __ENV.PASSWORD || 'testpass' };
const TOKEN_PATTERN = /^[\w-]+\.[\w-]+\.[\w-]+$/;

// For setup(): makes every thread of every worker hash a password, since each retains the memory of its first hash.
export function warmUpPasswords(count) {
  const headers = { 'Content-Type': 'application/json' };
  const params = { headers, responseCallback: http.expectedStatuses(401, 429) };
  const attempt = (number) => {
    return ['POST', `${BASE_URL}/auth/login`, JSON.stringify({ username: `unknown-${number}`, password: 'wrong' }), params];
  };
  http.batch(Array.from({ length: count }, (_, number) => attempt(number)));
}

// Logs in, checks the token and returns the session, or undefined when the login failed.
export function login() {
  const response = post('/auth/login', USER, 200, {
    'login returns a token': (response) => response.status === 200 && TOKEN_PATTERN.test(response.json('token')),
  });
  return parseSession(response);
}

// Returns the tokens of a login response and the cookies that they are bound to.
export function parseSession(response) {
  if (response.status !== 200) return undefined;
  const cookies = Object.fromEntries(Object.entries(response.cookies).map(([name, [{ value }]]) => [name, value]));
  return { token: response.json('token'), refresh: response.json('refresh_token'), cookies };
}

// Returns headers and cookies for requests of *session*; its cookies replace those of the cookie jar.
export function authenticated(session) {
  if (session === undefined) return {};
  const cookies = Object.entries(session.cookies).map(([name, value]) => [name, { value, replace: true }]);
  return { headers: { Authorization: `Bearer ${session.token}` }, cookies: Object.fromEntries(cookies) };
}

// One session for each virtual user, renewed every minute.
const current = { session: undefined, expires: 0 };

export function userSession() {
  if (Date.now() > current.expires) {
    current.session = login();
    current.expires = Date.now() + 60000;
  }
  return current.session;
}
