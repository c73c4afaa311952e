// One reader of the data, for the scenarios that send requests at a rate.
import { bearer, login, ownToken } from './login.js';
import { get } from './service.js';
import { judge } from './thresholds.js';

// For setup(): what every reader of a short run gets.
export function oneToken() {
  return { token: login() };
}

export function read(token) {
  return judge(get('/api/data', [200, 429, 503], {}, bearer(token)));
}

// For runs that are longer than a token lives.
export function readByItself() {
  return read(ownToken());
}
