// Requests to the service, with a check of the response status.
import http from 'k6/http';
import { check } from 'k6';

export const BASE_URL = (__ENV.BASE_URL || 'http://127.0.0.1:8000').replace(/\/$/, '');

// *credentials* has the headers and cookies of a user: get('/x', 200, {}, authenticated(session)).
export function get(path, expected, checks = {}, credentials = {}) {
  return checked(request('GET', path, null, credentials), `GET ${path}`, expected, checks);
}

export function post(path, content, expected, checks = {}, credentials = {}) {
  return checked(request('POST', path, content, credentials), `POST ${path}`, expected, checks);
}

export function request(method, path, content = null, { headers = {}, cookies = {} } = {}) {
  const body = content === null ? null : JSON.stringify(content);
  const contentType = content === null ? {} : { 'Content-Type': 'application/json' };
  return http.request(method, BASE_URL + path, body, { headers: { ...contentType, ...headers }, cookies, tags: { name: path } });
}

function checked(response, name, expected, checks) {
  const statuses = [].concat(expected);
  check(response, { [`${name} returns ${statuses.join(' or ')}`]: ({ status }) => statuses.includes(status), ...checks });
  return response;
}
