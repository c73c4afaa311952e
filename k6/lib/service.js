// What every scenario shares: where the service is, and how an answer is checked.
import http from 'k6/http';
import { check } from 'k6';

export const BASE_URL = (__ENV.BASE_URL || 'http://127.0.0.1:8000').replace(/\/$/, '');

const JSON_HEADERS = { headers: { 'Content-Type': 'application/json' } };

export function get(path, expected, more = {}) {
  return verified(http.get(BASE_URL + path, { tags: { name: path } }), `GET ${path}`, expected, more);
}

export function post(path, content, expected, more = {}) {
  const response = http.post(BASE_URL + path, JSON.stringify(content), { ...JSON_HEADERS, tags: { name: path } });
  return verified(response, `POST ${path}`, expected, more);
}

function verified(response, name, expected, more) {
  check(response, { [`${name} answers ${expected}`]: (answer) => answer.status === expected, ...more });
  return response;
}
