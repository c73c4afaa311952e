// Durations as people write them, and runs that are cut short.

const UNITS = { ms: 0.001, s: 1, m: 60, h: 3600 };

export function seconds(text) {
  const [, number, unit] = /^([\d.]+)(ms|s|m|h)$/.exec(text);
  return Number(number) * UNITS[unit];
}

// How long a run takes that takes *whole* seconds by itself.
export function length(whole) {
  if (__ENV.DURATION === 'short') return Math.min(60, whole);
  return __ENV.DURATION ? seconds(__ENV.DURATION) : whole;
}

// DURATION=short is a run of about a minute; a time, such as 10s, is how long all stages take together.
export function fitted(stages) {
  const whole = total(stages);
  const wanted = length(whole);
  return stages.map((stage) => ({
    ...stage,
    duration: `${Math.max(100, Math.round((seconds(stage.duration) * 1000 * wanted) / whole))}ms`,
  }));
}

export function total(stages) {
  return stages.reduce((sum, stage) => sum + seconds(stage.duration), 0);
}
