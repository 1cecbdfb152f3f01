import { useEffect, useState } from 'preact/hooks';
import type { HealthInfo } from '../../../../api/health-schemas.js';
import { get } from '../../api.js';
import type { PageProps } from '../../app.js';
import { TitleWithProblems } from '../../title-with-problems.js';
import { ConnectionDetails } from './connections.js';
import { HistoryCharts } from './history-charts.js';
import { LogTail } from './log-tail.js';
import { MqttInspector } from './mqtt-inspector.js';
import './health.css';

const VIEWS = [
  { id: 'charts', title: 'Charts' },
  { id: 'connections', title: 'Cameras and broker' },
  { id: 'log', title: 'Log' },
  { id: 'mqtt', title: 'MQTT' },
] as const;
type View = (typeof VIEWS)[number]['id'];

/** The view that the address names: `#/health?view=mqtt`. */
function currentView(): View {
  const named = new URLSearchParams(location.hash.split('?')[1]).get('view');
  return VIEWS.find(({ id }) => id === named)?.id ?? 'charts';
}

export function HealthPage({ state, session }: PageProps) {
  const [view, setView] = useState(currentView);
  useEffect(() => {
    const look = (): void => setView(currentView());
    addEventListener('hashchange', look);
    return () => removeEventListener('hashchange', look);
  }, []);
  // Whoever may only look sees no log, no addresses and no messages.
  const views = VIEWS.filter(({ id }) => id === 'charts' || session.role !== 'display');
  return (
    <>
      <TitleWithProblems title="Health" problems={state?.problems ?? []} />
      <Summary />
      {views.length > 1 && (
        <nav class="views" aria-label="Views of health">
          {views.map(({ id, title }) => (
            <a key={id} href={`#/health?view=${id}`} aria-current={id === view ? 'true' : undefined}>
              {title}
            </a>
          ))}
        </nav>
      )}
      {views.some(({ id }) => id === view) && view !== 'charts' ? (
        view === 'connections' ? (
          <ConnectionDetails />
        ) : view === 'log' ? (
          <LogTail />
        ) : (
          <MqttInspector />
        )
      ) : (
        <HistoryCharts />
      )}
    </>
  );
}

function Summary() {
  const health = useRefreshed<HealthInfo>('/api/health', 5_000);
  return (
    <p class="facts">
      {health.value === undefined
        ? 'Asking the device…'
        : `The service is ${health.value.state}, for ${duration(health.value.uptimeSeconds)}.`}
    </p>
  );
}

/** A value of the device, asked for again and again while the page is seen. `address` undefined: nothing is asked. */
export function useRefreshed<T>(
  address: string | undefined,
  everyMs: number,
): { readonly value: T | undefined; readonly failure: string | undefined } {
  const [value, setValue] = useState<T>();
  const [failure, setFailure] = useState<string>();
  useEffect(() => {
    if (address === undefined) return;
    const abort = new AbortController();
    const look = async (): Promise<void> => {
      if (document.hidden) return;
      try {
        setValue(await get<T>(address, abort.signal));
        setFailure(undefined);
      } catch (error) {
        if (!abort.signal.aborted) setFailure(error instanceof Error ? error.message : String(error));
      }
    };
    void look();
    const timer = setInterval(() => void look(), everyMs);
    return () => {
      abort.abort();
      clearInterval(timer);
    };
  }, [address, everyMs]);
  return { value, failure };
}

export function duration(seconds: number): string {
  const [days, hours, minutes] = [
    Math.floor(seconds / 86_400),
    Math.floor(seconds / 3_600) % 24,
    Math.floor(seconds / 60) % 60,
  ];
  if (days > 0) return `${days} d ${hours} h`;
  return hours > 0 ? `${hours} h ${minutes} min` : minutes > 0 ? `${minutes} min` : `${Math.round(seconds)} s`;
}
