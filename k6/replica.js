// Clients read their own writes, although reads go to replicas.
import { Rate } from 'k6/metrics';
import { runDuration } from './lib/duration.js';
import { authenticated, userSession } from './lib/login.js';
import { get, post } from './lib/service.js';
import { summary, TREND_STATS } from './lib/summary.js';
import { NO_SERVER_ERRORS, SLO } from './lib/thresholds.js';
import { tagSlice, withSlices } from './lib/timeline.js';

const RATE = Number(__ENV.RATE || 20);
const DURATION = runDuration(60);
const TOKEN = 'Scalekit-Consistency';

const ownWrites = new Rate('own_writes_read');

export const options = {
  scenarios: {
    writers: {
      executor: 'constant-arrival-rate',
      rate: RATE,
      timeUnit: '1s',
      duration: `${DURATION}s`,
      preAllocatedVUs: 20,
      maxVUs: 200,
    },
  },
  summaryTrendStats: TREND_STATS,
  thresholds: withSlices({ ...SLO, ...NO_SERVER_ERRORS, [ownWrites.name]: ['rate==1.0'] }),
};

export default function () {
  tagSlice(DURATION);
  const user = authenticated(userSession());
  const created = post('/api/data', { name: `replica-${__VU}-${__ITER}`, value: __ITER }, 201, {}, user);
  if (created.status !== 201) return;
  const token = created.headers[TOKEN];
  const headers = token === undefined ? user.headers : { ...user.headers, [TOKEN]: token };
  const list = get('/api/data', 200, {}, { ...user, headers });
  if (list.status !== 200) return;
  // Other users write too, so the newest item may be theirs; ids only increase.
  ownWrites.add(list.json('items.0.id') >= created.json('id'));
}

export const handleSummary = summary('replica', `${RATE} clients per second read what they have just written.`, DURATION);
