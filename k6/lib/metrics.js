// Scrapes the metrics endpoint and adds up samples.
// METRICS_URL is another endpoint, or those of several instances, separated by commas.
import http from 'k6/http';
import { check } from 'k6';
import { BASE_URL } from './service.js';

const URLS = (__ENV.METRICS_URL || `${BASE_URL}/metrics`).split(',');

export function scrape() {
  return URLS.map(fetchMetrics).join('\n');
}

function fetchMetrics(url) {
  const response = http.get(url, { tags: { name: 'metrics' } });
  check(response, { 'metrics are exported': ({ status }) => status === 200 });
  return response.status === 200 ? response.body : '';
}

// Returns the sum of the samples *name* with these *labels*.
export function sumOf(text, name, labels = {}) {
  const required = Object.entries(labels).map(([label, value]) => `${label}="${value}"`);
  return text
    .split('\n')
    .filter((line) => line.startsWith(`${name}{`) || line.startsWith(`${name} `))
    .filter((line) => required.every((label) => line.includes(label)))
    .reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf('}') + 1).trim().split(' ').pop()), 0);
}
