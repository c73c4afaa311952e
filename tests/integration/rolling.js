// For applications of the tests: clients that read and write without a pause while instances are replaced. Not one request may fail.
import http from 'k6/http';
import { check } from 'k6';

const BASE_URL = (__ENV.BASE_URL || 'http://127.0.0.1:8000').replace(/\/$/, '');

export const options = {
  vus: Number(__ENV.VUS || 8),
  duration: __ENV.DURATION || '10s',
  thresholds: { checks: ['rate==1.0'], http_req_failed: ['rate==0.0'] },
};

export default function () {
  check(http.get(`${BASE_URL}/read`), { 'a GET answers 200': (answer) => answer.status === 200 });
  check(http.post(`${BASE_URL}/write`, 'x'.repeat(1000)), {
    'a POST answers 200, once': (answer) => answer.status === 200 && answer.body === '/write 1000',
  });
}
