// Authenticated read of the data, for scenarios with a request rate.
import { bearer, login, ownSession } from './login.js';
import { get } from './service.js';
import { judge } from './thresholds.js';

// For setup(): one session for all requests of a short run.
export function oneSession() {
  return login();
}

// A shed request (429, 503) is an expected response.
export function read(session) {
  return judge(get('/api/data', [200, 429, 503], {}, bearer(session)));
}

// For runs longer than the lifetime of a token.
export function readWithOwnSession() {
  return read(ownSession());
}
