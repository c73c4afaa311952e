// Durations of runs and stages, scaled to DURATION.

const UNITS = { ms: 0.001, s: 1, m: 60, h: 3600 };

export function seconds(text) {
  const [, number, unit] = /^([\d.]+)(ms|s|m|h)$/.exec(text);
  return Number(number) * UNITS[unit];
}

// Returns the duration of a run in seconds; *standard* is its duration without DURATION.
export function runDuration(standard) {
  if (__ENV.DURATION === 'short') return Math.min(60, standard);
  return __ENV.DURATION ? seconds(__ENV.DURATION) : standard;
}

// Scales *stages* to DURATION: "short" is about a minute, a duration such as 10s is the total of all stages.
export function fitStages(stages) {
  const standard = totalDuration(stages);
  const scaled = runDuration(standard);
  return stages.map((stage) => ({
    ...stage,
    duration: `${Math.max(100, Math.round((seconds(stage.duration) * 1000 * scaled) / standard))}ms`,
  }));
}

export function totalDuration(stages) {
  return stages.reduce((sum, stage) => sum + seconds(stage.duration), 0);
}
