// Line charts as inline SVG.

const [WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM] = [720, 220, 56, 12, 12, 30];
const COLOURS = ['#2563eb', '#ea580c', '#dc2626', '#16a34a'];

// lines: [{ name, points: [[x, y], ...] }]; *bound* is a dashed horizontal line.
export function chart(title, unit, lines, { bound, across = 's' } = {}) {
  const shown = lines.map((line) => ({ ...line, points: line.points.filter(([, y]) => Number.isFinite(y)) }));
  const xs = shown.flatMap((line) => line.points.map(([x]) => x));
  const ys = shown.flatMap((line) => line.points.map(([, y]) => y)).concat(bound === undefined ? [] : [bound]);
  if (xs.length === 0) return `<h3>${title}</h3><p>No samples.</p>`;
  const [x0, x1] = [Math.min(...xs), Math.max(...xs)];
  const top = Math.max(...ys) * 1.05 || 1;
  const place = ([x, y]) => [
    LEFT + ((x - x0) / (x1 - x0 || 1)) * (WIDTH - LEFT - RIGHT),
    HEIGHT - BOTTOM - (y / top) * (HEIGHT - TOP - BOTTOM),
  ];
  const parts = [grid(top, unit, place, x0, x1, across)];
  if (bound !== undefined) parts.push(dashed(place([x0, bound]), place([x1, bound])));
  shown.forEach((line, at) => parts.push(polyline(line.points.map(place), COLOURS[at % COLOURS.length])));
  return `<h3>${title}</h3>${legend(shown)}
<svg viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="${title}">${parts.join('')}</svg>`;
}

function grid(top, unit, place, x0, x1, across) {
  const rows = [0, 0.25, 0.5, 0.75, 1].map((share) => {
    const [x, y] = place([x0, top * share]);
    const [end] = place([x1, 0]);
    return `<line x1="${x}" x2="${end}" y1="${y}" y2="${y}" class="grid"/>${text(x - 6, y + 4, round(top * share), 'end')}`;
  });
  const columns = [0, 0.5, 1].map((share) => {
    const value = x0 + (x1 - x0) * share;
    const [x] = place([value, 0]);
    return text(x, HEIGHT - 8, `${round(value)} ${across}`, share === 1 ? 'end' : share ? 'middle' : 'start');
  });
  return rows.concat(columns, text(4, 10, unit, 'start')).join('');
}

function text(x, y, words, anchor) {
  return `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" text-anchor="${anchor}">${words}</text>`;
}

function dashed([x1, y], [x2]) {
  return `<line x1="${x1}" x2="${x2}" y1="${y}" y2="${y}" stroke="#dc2626" stroke-dasharray="6 4"/>`;
}

function polyline(points, colour) {
  const path = points.map(([x, y]) => `${x.toFixed(1)},${y.toFixed(1)}`).join(' ');
  return `<polyline points="${path}" fill="none" stroke="${colour}" stroke-width="2"/>`;
}

function legend(lines) {
  const names = lines.map((line, at) => `<span style="color:${COLOURS[at % COLOURS.length]}">&#9632;</span> ${line.name}`);
  return `<p class="legend">${names.join(' &nbsp; ')}</p>`;
}

export function round(value) {
  if (!Number.isFinite(value)) return '-';
  return value >= 100 || value === 0 ? String(Math.round(value)) : String(Number(value.toPrecision(3)));
}
