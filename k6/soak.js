// Constant load for ten minutes, while the memory (RSS) of the service is sampled for growth.
import { sleep } from 'k6';
import exec from 'k6/execution';
import { length } from './lib/duration.js';
import { manyPasswords } from './lib/login.js';
import { memory, sample, slope } from './lib/memory.js';
import { picture, rounded } from './lib/svg_chart.js';
import { readWithOwnSession } from './lib/reader.js';
import { summary, TREND_STATS } from './lib/summary.js';
import { NO_FAULTS, PROMISED } from './lib/thresholds.js';
import { mark, sliced } from './lib/timeline.js';

const RATE = Number(__ENV.RATE || 50);
const LENGTH = length(600);
const SETTLED = LENGTH / 5; // two of ten minutes, in which caches fill
const EVERY = Math.min(5, LENGTH / 40);
const GROWTH = Number(__ENV.GROWTH || 1); // MiB a minute
const GAUGES = [memory.name];
const PASSWORDS = 64;

export const options = {
  batch: PASSWORDS,
  batchPerHost: PASSWORDS,
  scenarios: {
    readers: {
      executor: 'constant-arrival-rate',
      rate: RATE,
      timeUnit: '1s',
      duration: `${LENGTH}s`,
      preAllocatedVUs: 20,
      maxVUs: 200,
    },
    watcher: { executor: 'constant-vus', vus: 1, duration: `${LENGTH}s`, exec: 'watch', gracefulStop: '5s' },
  },
  summaryTrendStats: TREND_STATS,
  thresholds: sliced({ ...PROMISED, ...NO_FAULTS, [slope.name]: [`value<${GROWTH}`] }, { gauges: GAUGES }),
};

export function setup() {
  manyPasswords(PASSWORDS);
}

export default function () {
  mark(LENGTH);
  readWithOwnSession();
}

export function watch() {
  mark(LENGTH);
  sample(exec.instance.currentTestRunDuration / 1000, SETTLED);
  sleep(EVERY);
}

function growth(data, points) {
  const values = (data.metrics[slope.name] || { values: {} }).values;
  const used = { name: 'resident memory of all workers', points: points.map((point) => [point.at, point[memory.name]]) };
  return {
    facts: [['memory grows by', `${rounded(values.value)} MiB a minute, after ${rounded(SETTLED)} s`]],
    pictures: [picture('Memory', 'MiB', [used])],
  };
}

export const handleSummary = summary('soak', `${RATE} requests a second for ${rounded(LENGTH)} s.`, LENGTH, {
  gauges: GAUGES,
  more: growth,
});
