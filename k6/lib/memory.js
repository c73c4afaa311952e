// Memory (RSS) of the service, and its growth.
import { Gauge } from 'k6/metrics';
import { scrape, sumOf } from './metrics.js';

const MIB = 1024 * 1024;

export const memory = new Gauge('memory_mib');
export const slope = new Gauge('memory_growth_mib_per_minute');

// Samples after the first *settled* seconds, in the virtual user that scrapes.
const samples = [];

export function sample(now, settled) {
  const rss = sumOf(scrape(), 'scalekit_memory_resident_bytes') / MIB;
  memory.add(rss);
  if (now >= settled) samples.push([now / 60, rss]);
  if (samples.length > 2) slope.add(leastSquares(samples));
}

export function leastSquares(points) {
  const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const [x, y] = [mean(points.map((point) => point[0])), mean(points.map((point) => point[1]))];
  const covariance = points.reduce((sum, point) => sum + (point[0] - x) * (point[1] - y), 0);
  return covariance / points.reduce((sum, point) => sum + (point[0] - x) ** 2, 0);
}
