// Constant load for ten minutes, while the memory (RSS) of the service is sampled for growth.
import { sleep } from 'k6';
import exec from 'k6/execution';
import { runDuration } from './lib/duration.js';
import { warmUpPasswords } from './lib/login.js';
import { memory, sample, slope } from './lib/memory.js';
import { chart, round } from './lib/svg_chart.js';
import { readWithUserSession } from './lib/reader.js';
import { summary, TREND_STATS } from './lib/summary.js';
import { NO_SERVER_ERRORS, SLO } from './lib/thresholds.js';
import { tagSlice, withSlices } from './lib/timeline.js';

const RATE = Number(__ENV.RATE || 50);
const DURATION = runDuration(600);
const SETTLED = DURATION / 5; // caches fill in the first fifth of the run
const INTERVAL = Math.min(5, DURATION / 40);
const GROWTH = Number(__ENV.GROWTH || 1); // MiB per minute
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
      duration: `${DURATION}s`,
      preAllocatedVUs: 20,
      maxVUs: 200,
    },
    scraper: { executor: 'constant-vus', vus: 1, duration: `${DURATION}s`, exec: 'sampleMemory', gracefulStop: '5s' },
  },
  summaryTrendStats: TREND_STATS,
  thresholds: withSlices({ ...SLO, ...NO_SERVER_ERRORS, [slope.name]: [`value<${GROWTH}`] }, { gauges: GAUGES }),
};

export function setup() {
  warmUpPasswords(PASSWORDS);
}

export default function () {
  tagSlice(DURATION);
  readWithUserSession();
}

export function sampleMemory() {
  tagSlice(DURATION);
  sample(exec.instance.currentTestRunDuration / 1000, SETTLED);
  sleep(INTERVAL);
}

function growth(data, points) {
  const values = (data.metrics[slope.name] || { values: {} }).values;
  const rss = { name: 'RSS of all workers', points: points.map((point) => [point.at, point[memory.name]]) };
  return {
    facts: [['memory growth', `${round(values.value)} MiB per minute, after ${round(SETTLED)} s`]],
    charts: [chart('Memory', 'MiB', [rss])],
  };
}

export const handleSummary = summary('soak', `${RATE} requests per second for ${round(DURATION)} s.`, DURATION, {
  gauges: GAUGES,
  more: growth,
});
