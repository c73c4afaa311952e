// What a run leaves: a page with its figures and pictures, and a few lines on the terminal. SUMMARY is the folder.
import { picture, rounded } from './svg_chart.js';
import { timeline } from './timeline.js';

export const TREND_STATS = ['min', 'avg', 'med', 'p(90)', 'p(95)', 'p(99)', 'max'];

const STYLE = `body{font:15px/1.5 system-ui,sans-serif;max-width:46rem;margin:2rem auto;padding:0 1rem;color:#111}
table{border-collapse:collapse}td,th{padding:.2rem .8rem .2rem 0;text-align:left;border-bottom:1px solid #ddd}
svg{width:100%;height:auto}.grid{stroke:#e5e7eb}text{font:11px system-ui,sans-serif;fill:#555}
.broken{color:#dc2626}.kept{color:#16a34a}.legend{margin:0;font-size:13px}h3{margin:1.4rem 0 0}`;

// Returns a handleSummary. *about* says in a sentence what the run shows; *more(data, points)* gives further
// { facts: [[name, value]], pictures: [html] } of it.
export function summary(name, about, length, { bound = 500, gauges = [], more = () => ({}) } = {}) {
  return (data) => {
    const points = timeline(data, length, gauges);
    const { facts = [], pictures = [] } = more(data, points);
    const rows = figures(data).concat(facts);
    const kept = thresholds(data);
    const page = html(name, about, rows, kept, [...overTime(points, bound), ...pictures]);
    const folder = (__ENV.SUMMARY || '.').replace(/\/$/, '');
    return { stdout: lines(name, rows, kept), [`${folder}/${name}.html`]: page };
  };
}

function figures(data) {
  const value = (metric, key) => ((data.metrics[metric] || {}).values || {})[key];
  const ms = (key) => `${rounded(value('http_req_duration', key))} ms`;
  return [
    ['requests', `${value('http_reqs', 'count') || 0} (${rounded(value('http_reqs', 'rate') || 0)} a second)`],
    ['median', ms('med')],
    ['95th percentile', ms('p(95)')],
    ['99th percentile', ms('p(99)')],
    ['slowest', ms('max')],
    ['failed', `${rounded((value('http_req_failed', 'rate') || 0) * 100)} %`],
    ['checks that held', `${rounded((value('checks', 'rate') || 0) * 100)} %`],
    ['iterations not begun in time', String(value('dropped_iterations', 'count') || 0)],
  ];
}

function thresholds(data) {
  return Object.entries(data.metrics)
    .filter(([name]) => !name.includes('{slice:'))
    .flatMap(([name, metric]) =>
      Object.entries(metric.thresholds || {}).map(([rule, { ok }]) => [`${name}: ${rule}`, ok]),
    );
}

function overTime(points, bound) {
  const line = (name, key) => ({ name, points: points.map((point) => [point.at, point[key]]) });
  return [
    picture('Latency', 'ms', [line('median', 'p50'), line('95th', 'p95'), line('99th percentile', 'p99')], { bound }),
    picture('Requests a second', '1/s', [line('requests', 'rate')]),
    picture('Share that failed', '%', [
      { name: 'failed', points: points.map((point) => [point.at, point.failed * 100]) },
    ]),
  ];
}

function html(name, about, rows, kept, pictures) {
  const table = rows.map(([key, value]) => `<tr><th>${key}</th><td>${value}</td></tr>`).join('');
  const rules = kept
    .map(([rule, ok]) => `<li class="${ok ? 'kept' : 'broken'}">${escaped(rule)}: ${ok ? 'kept' : 'broken'}</li>`)
    .join('');
  return `<!doctype html>
<html lang="en"><meta charset="utf-8"><title>${name}</title><style>${STYLE}</style>
<h1>${name}</h1><p>${about}</p>
<table>${table}</table>
${rules && `<h2>Thresholds</h2><ul>${rules}</ul>`}
<h2>Over time</h2>
${pictures.join('\n')}
</html>
`;
}

function escaped(text) {
  return text.replace(/&/g, '&amp;').replace(/</g, '&lt;');
}

function lines(name, rows, kept) {
  const width = Math.max(...rows.map(([key]) => key.length));
  const figuresOf = rows.map(([key, value]) => `  ${key.padEnd(width)}  ${value}`);
  const rules = kept.map(([rule, ok]) => `  ${ok ? 'kept  ' : 'BROKEN'}  ${rule}`);
  return [`${name}`, ...figuresOf, ...rules, ''].join('\n');
}
