// Clients read their own writes, although reads go to replicas.
import { Rate } from 'k6/metrics';
import { length } from './lib/duration.js';
import { bearer, ownSession } from './lib/login.js';
import { get, post } from './lib/service.js';
import { summary, TREND_STATS } from './lib/summary.js';
import { NO_FAULTS, PROMISED } from './lib/thresholds.js';
import { mark, sliced } from './lib/timeline.js';

const RATE = Number(__ENV.RATE || 20);
const LENGTH = length(60);
const TOKEN = 'Scalekit-Consistency';

const own = new Rate('own_writes_read');

export const options = {
  scenarios: {
    writers: {
      executor: 'constant-arrival-rate',
      rate: RATE,
      timeUnit: '1s',
      duration: `${LENGTH}s`,
      preAllocatedVUs: 20,
      maxVUs: 200,
    },
  },
  summaryTrendStats: TREND_STATS,
  thresholds: sliced({ ...PROMISED, ...NO_FAULTS, [own.name]: ['rate==1.0'] }),
};

export default function () {
  mark(LENGTH);
  const who = bearer(ownSession());
  const made = post('/api/data', { name: `replica-${__VU}-${__ITER}`, value: __ITER }, 201, {}, who);
  if (made.status !== 201) return;
  const token = made.headers[TOKEN];
  const headers = token === undefined ? who.headers : { ...who.headers, [TOKEN]: token };
  const listed = get('/api/data', 200, {}, { ...who, headers });
  if (listed.status !== 200) return;
  // Others write meanwhile, so the newest may be theirs; ids only grow.
  own.add(listed.json('items.0.id') >= made.json('id'));
}

export const handleSummary = summary('replica', `${RATE} clients a second read what they have just written.`, LENGTH);
