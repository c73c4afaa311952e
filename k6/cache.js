// Cache hit ratio, and latency of hits compared with misses; PATH_KEPT names another cacheable path.
import { Rate, Trend } from 'k6/metrics';
import { length } from './lib/duration.js';
import { bearer, login } from './lib/login.js';
import { rounded } from './lib/svg_chart.js';
import { get } from './lib/service.js';
import { summary, TREND_STATS } from './lib/summary.js';
import { NO_FAULTS, PROMISED, judge } from './lib/thresholds.js';
import { mark, sliced } from './lib/timeline.js';

const RATE = Number(__ENV.RATE || 200);
const LENGTH = length(60);
const PATH = __ENV.PATH_KEPT || '/api/users/active';

const hits = new Rate('cache_hits');
const hit = new Trend('cache_hit_ms', true);
const made = new Trend('cache_made_ms', true);

export const options = {
  scenarios: {
    readers: {
      executor: 'constant-arrival-rate',
      rate: RATE,
      timeUnit: '1s',
      duration: `${LENGTH}s`,
      preAllocatedVUs: 20,
      maxVUs: 200,
    },
  },
  summaryTrendStats: TREND_STATS,
  thresholds: sliced({ ...PROMISED, ...NO_FAULTS, [hits.name]: ['rate>0.9'], checks: ['rate==1.0'] }),
};

export const setup = login;

export default function (session) {
  mark(LENGTH);
  const answer = judge(
    get(PATH, 200, { 'it says how it came about': (each) => 'Cache-Status' in each.headers }, bearer(session)),
  );
  const kept = / hit|;hit/.test(`;${answer.headers['Cache-Status'] || ''}`);
  hits.add(kept);
  (kept ? hit : made).add(answer.timings.duration);
}

function shares(data) {
  const value = (metric, key) => ((data.metrics[metric.name] || {}).values || {})[key];
  return {
    facts: [
      ['from the cache', `${rounded((value(hits, 'rate') || 0) * 100)} %`],
      ['median of those', `${rounded(value(hit, 'med'))} ms`],
      ['median of those made', `${rounded(value(made, 'med'))} ms`],
    ],
  };
}

export const handleSummary = summary('cache', `${RATE} requests a second for ${PATH}.`, LENGTH, { more: shares });
