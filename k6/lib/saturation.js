// Saturation point: the highest request rate before the first interval that breaks a bound.
import { chart, round } from './svg_chart.js';

export function knee(points, { p95 = Infinity, failed = 1 } = {}) {
  const breaks = (point) => point.p95 >= p95 || point.failed >= failed;
  const index = points.findIndex(breaks);
  const before = index === -1 ? points : points.slice(0, index);
  return { rate: Math.max(0, ...before.map((point) => point.rate)), breaking: index === -1 ? undefined : points[index] };
}

export function kneeReport(bounds) {
  return (data, points) => {
    const { rate, breaking } = knee(points, bounds);
    const breakingPoint = breaking
      ? `at ${round(breaking.at)} s: p95 ${round(breaking.p95)} ms, error rate ${round(breaking.failed * 100)} %`
      : 'not reached';
    const curve = { name: 'p95 by request rate', points: points.map((point) => [point.rate, point.p95]) };
    curve.points.sort(([one], [other]) => one - other);
    return {
      facts: [
        ['knee', `${round(rate)} requests per second`],
        ['breaking point', breakingPoint],
      ],
      charts: [chart('Latency by request rate', 'ms', [curve], { bound: bounds.p95, across: '1/s' })],
    };
  };
}
