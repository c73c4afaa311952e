// What /metrics says: the sum of the samples of one name whose labels include those given.
import { get } from './service.js';

export function scrape() {
  return get('/metrics', 200).body;
}

export function total(page, name, labels = {}) {
  const wanted = Object.entries(labels).map(([label, value]) => `${label}="${value}"`);
  return page
    .split('\n')
    .filter((line) => line.startsWith(`${name}{`) || line.startsWith(`${name} `))
    .filter((line) => wanted.every((label) => line.includes(label)))
    .reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf('}') + 1).trim().split(' ').pop()), 0);
}
