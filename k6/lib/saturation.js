// Saturation point: the highest request rate before the first interval that breaks a bound.
import { picture, rounded } from './svg_chart.js';

export function knee(points, { p95 = Infinity, failed = 1 } = {}) {
  const breaks = (point) => point.p95 >= p95 || point.failed >= failed;
  const at = points.findIndex(breaks);
  const kept = at === -1 ? points : points.slice(0, at);
  return { kept: Math.max(0, ...kept.map((point) => point.rate)), broken: at === -1 ? undefined : points[at] };
}

export function kneeReport(bounds) {
  return (data, points) => {
    const { kept, broken } = knee(points, bounds);
    const gaveIn = broken
      ? `at ${rounded(broken.at)} s: ${rounded(broken.p95)} ms, ${rounded(broken.failed * 100)} % failed`
      : 'not in this run';
    const curve = { name: '95th percentile by rate', points: points.map((point) => [point.rate, point.p95]) };
    curve.points.sort(([one], [other]) => one - other);
    return {
      facts: [
        ['knee', `${rounded(kept)} requests a second`],
        ['gave in', gaveIn],
      ],
      pictures: [picture('Latency by rate', 'ms', [curve], { bound: bounds.p95, across: '1/s' })],
    };
  };
}
