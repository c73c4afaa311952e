// Thresholds that the scenarios share.
import { Counter } from 'k6/metrics';

export const LATENCY = Number(__ENV.P95 || 500);

export const SLO = {
  http_req_duration: [`p(95)<${LATENCY}`],
  http_req_failed: ['rate<0.01'],
};

// A 503 with Retry-After is load shedding, or an unavailable backend; any other 5xx is a server error.
export const serverErrors = new Counter('server_errors');
export const shed = new Counter('shed');
export const NO_SERVER_ERRORS = { server_errors: ['count==0'] };

export function countErrors(response) {
  if (response.status === 503 && response.headers['Retry-After']) shed.add(1);
  else if (response.status >= 500) serverErrors.add(1);
  return response;
}
