// Where the service is, how it is asked, and how an answer is checked.
import http from 'k6/http';
import { check } from 'k6';

export const BASE_URL = (__ENV.BASE_URL || 'http://127.0.0.1:8000').replace(/\/$/, '');

// *who* has the headers and cookies of the user: get('/x', 200, {}, bearer(session)).
export function get(path, expected, more = {}, who = {}) {
  return verified(request('GET', path, null, who), `GET ${path}`, expected, more);
}

export function post(path, content, expected, more = {}, who = {}) {
  return verified(request('POST', path, content, who), `POST ${path}`, expected, more);
}

export function request(method, path, content = null, { headers = {}, cookies = {} } = {}) {
  const body = content === null ? null : JSON.stringify(content);
  const kind = content === null ? {} : { 'Content-Type': 'application/json' };
  return http.request(method, BASE_URL + path, body, { headers: { ...kind, ...headers }, cookies, tags: { name: path } });
}

function verified(response, name, expected, more) {
  const statuses = [].concat(expected);
  check(response, { [`${name} answers ${statuses.join(' or ')}`]: (answer) => statuses.includes(answer.status), ...more });
  return response;
}
