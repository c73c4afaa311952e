// Cache hit ratio, and latency of hits compared with misses; TARGET_PATH is another cacheable path.
import { Rate, Trend } from 'k6/metrics';
import { runDuration } from './lib/duration.js';
import { authenticated, login } from './lib/login.js';
import { round } from './lib/svg_chart.js';
import { get } from './lib/service.js';
import { summary, TREND_STATS } from './lib/summary.js';
import { NO_SERVER_ERRORS, SLO, countErrors } from './lib/thresholds.js';
import { tagSlice, withSlices } from './lib/timeline.js';

const RATE = Number(__ENV.RATE || 200);
const DURATION = runDuration(60);
const PATH = __ENV.TARGET_PATH || '/api/users/active';

const hitRatio = new Rate('cache_hit_ratio');
const hit = new Trend('cache_hit_ms', true);
const miss = new Trend('cache_miss_ms', true);

export const options = {
  scenarios: {
    readers: {
      executor: 'constant-arrival-rate',
      rate: RATE,
      timeUnit: '1s',
      duration: `${DURATION}s`,
      preAllocatedVUs: 20,
      maxVUs: 200,
    },
  },
  summaryTrendStats: TREND_STATS,
  thresholds: withSlices({ ...SLO, ...NO_SERVER_ERRORS, [hitRatio.name]: ['rate>0.9'], checks: ['rate==1.0'] }),
};

export const setup = login;

export default function (session) {
  tagSlice(DURATION);
  const response = countErrors(
    get(PATH, 200, { 'response has Cache-Status': ({ headers }) => 'Cache-Status' in headers }, authenticated(session)),
  );
  const isHit = / hit|;hit/.test(`;${response.headers['Cache-Status'] || ''}`);
  hitRatio.add(isHit);
  (isHit ? hit : miss).add(response.timings.duration);
}

function cacheFacts(data) {
  const value = (metric, key) => ((data.metrics[metric.name] || {}).values || {})[key];
  return {
    facts: [
      ['hit ratio', `${round((value(hitRatio, 'rate') || 0) * 100)} %`],
      ['median latency of hits', `${round(value(hit, 'med'))} ms`],
      ['median latency of misses', `${round(value(miss, 'med'))} ms`],
    ],
  };
}

export const handleSummary = summary('cache', `${RATE} requests per second for ${PATH}.`, DURATION, { more: cacheFacts });
