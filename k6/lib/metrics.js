// What /metrics says: the sum of the samples of one name whose labels include those given.
// METRICS_URL names another page, or the pages of several instances with commas between.
import http from 'k6/http';
import { check } from 'k6';
import { BASE_URL } from './service.js';

const PAGES = (__ENV.METRICS_URL || `${BASE_URL}/metrics`).split(',');

export function scrape() {
  return PAGES.map(page).join('\n');
}

function page(url) {
  const answer = http.get(url, { tags: { name: 'metrics' } });
  check(answer, { 'the metrics are there': (response) => response.status === 200 });
  return answer.status === 200 ? answer.body : '';
}

export function total(page, name, labels = {}) {
  const wanted = Object.entries(labels).map(([label, value]) => `${label}="${value}"`);
  return page
    .split('\n')
    .filter((line) => line.startsWith(`${name}{`) || line.startsWith(`${name} `))
    .filter((line) => wanted.every((label) => line.includes(label)))
    .reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf('}') + 1).trim().split(' ').pop()), 0);
}
