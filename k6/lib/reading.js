// One reader of the data, for the scenarios that send requests at a rate.
import { bearer, login, ownSession } from './login.js';
import { get } from './service.js';
import { judge } from './thresholds.js';

// For setup(): what every reader of a short run gets.
export function oneSession() {
  return login();
}

// Being shed is an answer as well as any.
export function read(session) {
  return judge(get('/api/data', [200, 429, 503], {}, bearer(session)));
}

// For runs that are longer than a token lives.
export function readByItself() {
  return read(ownSession());
}
