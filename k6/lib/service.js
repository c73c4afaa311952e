// What every scenario shares: where the service is, and how an answer is checked.
import http from 'k6/http';
import { check } from 'k6';

export const BASE_URL = (__ENV.BASE_URL || 'http://127.0.0.1:8000').replace(/\/$/, '');

const JSON_HEADERS = { 'Content-Type': 'application/json' };

// Headers that show who asks: the token, and the cookie that it is bound to.
export function login(username = 'testuser', password = 'testpass') {
  const answer = post('/auth/login', { username, password }, 200);
  const cookie = Object.values(answer.cookies).flat()[0];
  return { Authorization: `Bearer ${answer.json('token')}`, Cookie: `${cookie.name}=${cookie.value}` };
}

export function get(path, expected, more = {}, headers = {}) {
  return verified(http.get(BASE_URL + path, { headers, tags: { name: path } }), `GET ${path}`, expected, more);
}

export function post(path, content, expected, more = {}, headers = {}) {
  const params = { headers: { ...JSON_HEADERS, ...headers }, tags: { name: path } };
  const response = http.post(BASE_URL + path, JSON.stringify(content), params);
  return verified(response, `POST ${path}`, expected, more);
}

function verified(response, name, expected, more) {
  check(response, { [`${name} answers ${expected}`]: (answer) => answer.status === expected, ...more });
  return response;
}
