// What the service's processes use, and how fast that grows.
import { Gauge } from 'k6/metrics';
import { scrape, total } from './metrics.js';

const MIB = 1024 * 1024;

export const memory = new Gauge('memory_mib');
export const slope = new Gauge('memory_mib_a_minute');

// Samples of after *settled* seconds, in the one virtual user that watches.
const samples = [];

export function sample(now, settled) {
  const used = total(scrape(), 'scalekit_memory_resident_bytes') / MIB;
  memory.add(used);
  if (now >= settled) samples.push([now / 60, used]);
  if (samples.length > 2) slope.add(leastSquares(samples));
}

export function leastSquares(points) {
  const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const [x, y] = [mean(points.map((point) => point[0])), mean(points.map((point) => point[1]))];
  const above = points.reduce((sum, point) => sum + (point[0] - x) * (point[1] - y), 0);
  return above / points.reduce((sum, point) => sum + (point[0] - x) ** 2, 0);
}
