import { useEffect, useState } from 'preact/hooks';
import type { HealthHistory } from '../../../../api/health-schemas.js';
import { get } from '../../api.js';
import { figuresOf, marksOf } from './metrics.js';
import { describeMarks, TimeChart } from './time-chart.js';

const MINUTE_MS = 60_000;
const RANGES = [
  { id: '15min', title: '15 minutes', ms: 15 * MINUTE_MS },
  { id: '1h', title: '1 hour', ms: 60 * MINUTE_MS },
  { id: '6h', title: '6 hours', ms: 360 * MINUTE_MS },
  { id: '1d', title: '1 day', ms: 1_440 * MINUTE_MS },
  { id: '7d', title: '7 days', ms: 10_080 * MINUTE_MS },
  { id: '30d', title: '30 days', ms: 43_200 * MINUTE_MS },
] as const;
const REFRESH_MS = 10_000;
const POINTS = 240;

interface Shown {
  readonly history: HealthHistory;
  readonly from: number;
  readonly to: number;
}

/** How the device was, over its restarts: what the journal keeps. */
export function HistoryCharts() {
  const [range, setRange] = useState<(typeof RANGES)[number]>(RANGES[1]);
  const [shown, setShown] = useState<Shown>();
  const [failure, setFailure] = useState<string>();
  useEffect(() => {
    const abort = new AbortController();
    const look = async (): Promise<void> => {
      if (document.hidden) return;
      const to = Date.now();
      const from = to - range.ms;
      try {
        const query = new URLSearchParams({ from: String(from), to: String(to), points: String(POINTS) });
        const history = await get<HealthHistory>(`/api/health/history?${query}`, abort.signal);
        setShown({ history, from, to });
        setFailure(undefined);
      } catch (error) {
        if (!abort.signal.aborted) setFailure(error instanceof Error ? error.message : String(error));
      }
    };
    void look();
    const timer = setInterval(() => void look(), REFRESH_MS);
    return () => {
      abort.abort();
      clearInterval(timer);
    };
  }, [range]);

  const figures = shown === undefined ? [] : figuresOf(shown.history);
  const marks = shown === undefined ? [] : marksOf(shown.history);
  const has = (pattern: RegExp) => figures.some(({ key }) => pattern.test(key));
  return (
    <section aria-label="Figures over time">
      <fieldset class="ranges">
        <legend>The last</legend>
        {RANGES.map((each) => (
          <label key={each.id} class="choice">
            <input type="radio" name="range" checked={each.id === range.id} onChange={() => setRange(each)} />
            <span>{each.title}</span>
          </label>
        ))}
      </fieldset>
      {failure !== undefined && (
        <p class="failure" role="alert">
          {failure}
        </p>
      )}
      {shown !== undefined && figures.length === 0 && failure === undefined && (
        <p class="card">No figures of this time yet: the device writes them down every ten seconds.</p>
      )}
      <div class="charts">
        {shown !== undefined &&
          figures.map((figure) => (
            <TimeChart
              key={figure.key}
              figure={figure}
              times={shown.history.times}
              run={shown.history.run}
              stepMs={shown.history.stepMs}
              from={shown.from}
              to={shown.to}
              marks={marks}
            />
          ))}
      </div>
      {figures.length > 0 && (
        <p class="hint key">
          {marks.some(({ kind }) => kind === 'restart') && (
            <span>
              <i class="restart" /> the device was started
            </span>
          )}
          {marks.some(({ kind }) => kind === 'throttled') && (
            <span>
              <i class="throttled" /> the board slowed itself down
            </span>
          )}
          {marks.length > 0 && <span class="visually-hidden">{describeMarks(marks)}</span>}
          {!has(/TemperatureCelsius$/) && <span>This machine tells no temperature.</span>}
          {!has(/PowerWatts$/) && <span>This machine tells no power.</span>}
          <span>Line: mean; band: least to greatest of each span.</span>
        </p>
      )}
    </section>
  );
}
