// Authenticated reads, for scenarios with a request rate.
import { authenticated, login, userSession } from './login.js';
import { get } from './service.js';
import { countErrors } from './thresholds.js';

// For setup(): one session for all requests of a short run.
export function sharedSession() {
  return login();
}

// A shed request (429, 503) is an expected response.
export function read(session) {
  return countErrors(get('/api/data', [200, 429, 503], {}, authenticated(session)));
}

// For runs longer than the lifetime of a token.
export function readWithUserSession() {
  return read(userSession());
}
