// Report of a run: an HTML file with values and charts in the folder SUMMARY, and a summary on the terminal.
import { chart, round } from './svg_chart.js';
import { timeline } from './timeline.js';

export const TREND_STATS = ['min', 'avg', 'med', 'p(90)', 'p(95)', 'p(99)', 'max'];

const STYLE = `body{font:15px/1.5 system-ui,sans-serif;max-width:46rem;margin:2rem auto;padding:0 1rem;color:#111}
table{border-collapse:collapse}td,th{padding:.2rem .8rem .2rem 0;text-align:left;border-bottom:1px solid #ddd}
svg{width:100%;height:auto}.grid{stroke:#e5e7eb}text{font:11px system-ui,sans-serif;fill:#555}
.failed{color:#dc2626}.passed{color:#16a34a}.legend{margin:0;font-size:13px}h3{margin:1.4rem 0 0}`;

// Returns a handleSummary. *description* is a sentence; *more(data, points)* returns further facts and charts as
// { facts: [[name, value]], charts: [html] }.
export function summary(name, description, duration, { bound = 500, gauges = [], more = () => ({}) } = {}) {
  return (data) => {
    const points = timeline(data, duration, gauges);
    const { facts = [], charts = [] } = more(data, points);
    const rows = figures(data).concat(facts);
    const results = thresholds(data);
    const page = html(name, description, rows, results, [...overTime(points, bound), ...charts]);
    const folder = (__ENV.SUMMARY || '.').replace(/\/$/, '');
    return { stdout: lines(name, rows, results), [`${folder}/${name}.html`]: page };
  };
}

function figures(data) {
  const value = (metric, key) => ((data.metrics[metric] || {}).values || {})[key];
  const ms = (key) => `${round(value('http_req_duration', key))} ms`;
  return [
    ['requests', `${value('http_reqs', 'count') || 0} (${round(value('http_reqs', 'rate') || 0)} per second)`],
    ['median latency', ms('med')],
    ['p95 latency', ms('p(95)')],
    ['p99 latency', ms('p(99)')],
    ['maximum latency', ms('max')],
    ['error rate', `${round((value('http_req_failed', 'rate') || 0) * 100)} %`],
    ['successful checks', `${round((value('checks', 'rate') || 0) * 100)} %`],
    ['dropped iterations', String(value('dropped_iterations', 'count') || 0)],
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
    chart('Latency', 'ms', [line('median', 'p50'), line('p95', 'p95'), line('p99', 'p99')], { bound }),
    chart('Request rate', '1/s', [line('requests', 'rate')]),
    chart('Error rate', '%', [
      { name: 'failed requests', points: points.map((point) => [point.at, point.failed * 100]) },
    ]),
  ];
}

function html(name, description, rows, results, charts) {
  const table = rows.map(([key, value]) => `<tr><th>${key}</th><td>${value}</td></tr>`).join('');
  const rules = results
    .map(([rule, ok]) => `<li class="${ok ? 'passed' : 'failed'}">${escaped(rule)}: ${ok ? 'passed' : 'failed'}</li>`)
    .join('');
  return `<!doctype html>
<html lang="en"><meta charset="utf-8"><title>${name}</title><style>${STYLE}</style>
<h1>${name}</h1><p>${description}</p>
<table>${table}</table>
${rules && `<h2>Thresholds</h2><ul>${rules}</ul>`}
<h2>Over time</h2>
${charts.join('\n')}
</html>
`;
}

function escaped(text) {
  return text.replace(/&/g, '&amp;').replace(/</g, '&lt;');
}

function lines(name, rows, results) {
  const width = Math.max(...rows.map(([key]) => key.length));
  const figuresOf = rows.map(([key, value]) => `  ${key.padEnd(width)}  ${value}`);
  const rules = results.map(([rule, ok]) => `  ${ok ? 'passed' : 'FAILED'}  ${rule}`);
  return [`${name}`, ...figuresOf, ...rules, ''].join('\n');
}
