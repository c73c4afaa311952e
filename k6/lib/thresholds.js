// What every scenario holds the service to.
import { Counter } from 'k6/metrics';

export const LATENCY = Number(__ENV.P95 || 500);

export const PROMISED = {
  http_req_duration: [`p(95)<${LATENCY}`],
  http_req_failed: ['rate<0.01'],
};

// A 503 with Retry-After is shedding that the file asks for, or a server behind that is gone; any other 5xx is a fault.
export const faults = new Counter('faults');
export const shed = new Counter('shed');
export const NO_FAULTS = { faults: ['count==0'] };

export function judge(response) {
  if (response.status === 503 && response.headers['Retry-After']) shed.add(1);
  else if (response.status >= 500) faults.add(1);
  return response;
}
