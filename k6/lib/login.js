// Who asks: the user of the sample application.
import { post } from './service.js';

export const USER = { username: __ENV.USERNAME || 'testuser', password: __ENV.PASSWORD || 'testpass' };

// Logs in, checks the token, and returns it; undefined where there is none.
export function login() {
  const answer = post('/auth/login', USER, 200, {
    'a token is given': (response) => response.status === 200 && (response.json('access_token') || '').length > 20,
  });
  return answer.status === 200 ? answer.json('access_token') : undefined;
}

export function bearer(token) {
  return { Authorization: `Bearer ${token}` };
}

// A token for each virtual user, logged in once and again shortly before it ends.
const kept = { token: undefined, until: 0 };

export function ownToken() {
  if (Date.now() > kept.until) {
    kept.token = login();
    kept.until = Date.now() + 60000;
  }
  return kept.token;
}
