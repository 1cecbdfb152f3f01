import { useEffect, useState } from 'preact/hooks';
import type { HealthInfo, LogLine } from '../../../api/schemas.js';
import { get } from '../api.js';
import type { PageProps } from '../app.js';
import { Chart } from '../chart.js';

const REFRESH_MS = 5_000;
const LEVELS = ['info', 'warn', 'error'] as const;

/** What is drawn, in this order; what the device does not tell is left out. Counters that only grow are drawn as steps. */
const CHARTS: readonly {
  readonly match: RegExp;
  readonly title: (name: string) => string;
  readonly unit: string;
  readonly scale?: number /** Shown only when it is not 0. */;
  readonly isOnlyTrouble?: true;
}[] = [
  { match: /^framesPerSecond /, title: (name) => `Pictures of ${name.slice(16)}`, unit: '/s' },
  { match: /^questionsWaiting$/, title: () => 'Questions that wait', unit: '' },
  { match: /^processRssBytes$/, title: () => 'Memory of the service', unit: ' MB', scale: 1e-6 },
  { match: /^modelMemoryBytes$/, title: () => 'Memory of the model', unit: ' MB', scale: 1e-6 },
  { match: /^availableBytes$/, title: () => 'Free memory', unit: ' MB', scale: 1e-6 },
  { match: /temperature/i, title: (name) => name, unit: ' °C' },
  { match: /power|watt/i, title: (name) => name, unit: ' W' },
  { match: /^generatedTokens$/, title: () => 'Tokens written', unit: '' },
  { match: /^modelRestarts$/, title: () => 'Restarts of the model', unit: '' },
  { match: /^eventsPending$/, title: () => 'Events that wait for the broker', unit: '' },
  { match: /^journalBytes$/, title: () => 'Journal', unit: ' MB', scale: 1e-6 },
  { match: /dropped/i, title: (name) => name, unit: '', isOnlyTrouble: true },
];

export function HealthPage({ state, session }: PageProps) {
  const [health, setHealth] = useState<HealthInfo>();
  const [lines, setLines] = useState<readonly LogLine[]>([]);
  const [level, setLevel] = useState<(typeof LEVELS)[number]>('info');
  const mayReadLog = session.role !== 'display';

  useEffect(() => {
    const look = async (): Promise<void> => {
      if (document.hidden) return;
      await get<HealthInfo>('/api/health').then(setHealth, () => {});
      if (mayReadLog)
        await get<{ lines: LogLine[] }>('/api/log').then(
          (log) => setLines(log.lines),
          () => {},
        );
    };
    void look();
    const timer = setInterval(() => void look(), REFRESH_MS);
    return () => clearInterval(timer);
  }, [mayReadLog]);

  const newest = health?.samples.at(-1)?.metrics ?? {};
  const charts = CHARTS.flatMap(({ match, ...how }) =>
    Object.keys(newest)
      .filter((name) => match.test(name) && (how.isOnlyTrouble !== true || newest[name] !== 0))
      .map((name) => ({ name, ...how })),
  );
  const shown = lines.filter((line) => LEVELS.indexOf(line.level as 'info') >= LEVELS.indexOf(level)).toReversed();
  return (
    <>
      <h1>Health</h1>
      <section class="card" aria-label="Summary">
        <dl class="facts-list">
          <div>
            <dt>Device</dt>
            <dd>{health?.state ?? '…'}</dd>
          </div>
          <div>
            <dt>Running for</dt>
            <dd>{duration(health?.uptimeSeconds ?? 0)}</dd>
          </div>
          <div>
            <dt>Broker</dt>
            <dd>
              {health?.broker.address ?? '…'} ({health?.broker.state ?? '…'})
            </dd>
          </div>
          {state?.cameras.map(({ id, state: how, lastFrameAgeMs }) => (
            <div key={id}>
              <dt>Camera {id}</dt>
              <dd>
                {how}
                {lastFrameAgeMs === null ? '' : `, last picture ${(lastFrameAgeMs / 1000).toFixed(1)} s old`}
              </dd>
            </div>
          ))}
        </dl>
        {state?.problems.map(({ part, code, message }) => (
          <p key={part} class="failure">
            {part}: {message} <small>({code})</small>
          </p>
        ))}
      </section>
      <h2>Since the service started</h2>
      <section class="charts">
        {charts.map(({ name, title, unit, scale = 1 }) => (
          <Chart
            key={name}
            title={title(name)}
            unit={unit}
            points={health!.samples.flatMap(({ atMs, metrics }) => {
              const value = metrics[name];
              return value === undefined ? [] : [{ atMs, value: value * scale }];
            })}
          />
        ))}
      </section>
      {mayReadLog && (
        <section aria-label="Log">
          <h2>Log</h2>
          <label class="inline">
            From level
            <select value={level} onChange={({ currentTarget }) => setLevel(currentTarget.value as 'info')}>
              {LEVELS.map((name) => (
                <option key={name}>{name}</option>
              ))}
            </select>
          </label>
          <ol class="card log" tabIndex={0} aria-label="Lines, newest first">
            {shown.map((line) => (
              <li key={line.seq} data-level={line.level}>
                <time>{new Date(line.atMs).toLocaleTimeString()}</time> <b>{line.level}</b> {line.message}
              </li>
            ))}
            {shown.length === 0 && <li>Nothing of this level.</li>}
          </ol>
        </section>
      )}
    </>
  );
}

function duration(seconds: number): string {
  const [days, hours, minutes] = [
    Math.floor(seconds / 86_400),
    Math.floor(seconds / 3_600) % 24,
    Math.floor(seconds / 60) % 60,
  ];
  if (days > 0) return `${days} d ${hours} h`;
  return hours > 0 ? `${hours} h ${minutes} min` : minutes > 0 ? `${minutes} min` : `${seconds} s`;
}
