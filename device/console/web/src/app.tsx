import type { ComponentType } from 'preact';
import { useCallback, useEffect, useState } from 'preact/hooks';
import type { DeviceState, SessionInfo, TimelineEvent } from '../../api/schemas.js';
import { ApiError, follow, send, session, signIn, whenSignedOut } from './api.js';
import { AskPage } from './pages/ask/ask-page.js';
import { DevicePage } from './pages/device/device-page.js';
import { HealthPage } from './pages/health/health-page.js';
import { LivePage } from './pages/live/live-page.js';
import { SignIn } from './pages/sign-in.js';
import { TimelinePage } from './pages/timeline/timeline-page.js';
import { WatchesPage } from './pages/watches/watches-page.js';
import { SetupBanner } from './setup-banner.js';

export interface PageProps {
  readonly state: DeviceState | undefined;
  /** The newest first, since the page was opened. */
  readonly events: readonly TimelineEvent[];
  readonly session: SessionInfo;
}

const PAGES: readonly { readonly id: string; readonly title: string; readonly page: ComponentType<PageProps> }[] = [
  { id: 'live', title: 'Live', page: LivePage },
  { id: 'ask', title: 'Ask', page: AskPage },
  { id: 'timeline', title: 'Timeline', page: TimelinePage },
  { id: 'watches', title: 'Watches', page: WatchesPage },
  { id: 'health', title: 'Health', page: HealthPage },
  { id: 'device', title: 'Device', page: DevicePage },
];
const KEPT_EVENTS = 100;

/** The page that the address names after its #, with what follows a question mark. */
function currentPage() {
  const id = location.hash.replace(/^#\/?/, '').split('?')[0];
  return PAGES.find((page) => page.id === id) ?? PAGES[0]!;
}

export function App() {
  const [info, setInfo] = useState<SessionInfo>();
  const [error, setError] = useState<string>();
  const enter = useCallback((next: SessionInfo) => {
    setError(undefined);
    setInfo(next);
  }, []);

  useEffect(() => {
    whenSignedOut(() => void session().then(setInfo, () => {}));
    const token = /^#token=([\w-]+)$/.exec(location.hash)?.[1];
    // Out of the address before anything else: it must not stay in the history.
    if (token !== undefined) history.replaceState(null, '', '/');
    const begin = async (): Promise<SessionInfo> => {
      const known = await session();
      return token === undefined || known.role !== null ? known : await signIn({ token });
    };
    begin().then(enter, async (failure: unknown) => {
      setError(failure instanceof ApiError ? failure.message : String(failure));
      setInfo(await session().catch(() => ({ role: null, csrf: null, passwords: [], device: '' })));
    });
  }, [enter]);

  if (info === undefined) return <main class="alone">Loading…</main>;
  if (info.role === null) return <SignIn info={info} error={error} onEnter={enter} />;
  return (
    <Shell
      session={info}
      onLeave={() => void send('DELETE', '/api/session').finally(() => void session().then(setInfo))}
    />
  );
}

function Shell({ session, onLeave }: { readonly session: SessionInfo; readonly onLeave: () => void }) {
  const [page, setPage] = useState(currentPage);
  const [state, setState] = useState<DeviceState>();
  const [events, setEvents] = useState<readonly TimelineEvent[]>([]);
  const [isReached, setReached] = useState(true);

  useEffect(() => {
    const look = (): void => setPage(currentPage());
    addEventListener('hashchange', look);
    return () => removeEventListener('hashchange', look);
  }, []);
  useEffect(
    () =>
      follow({
        onState: setState,
        onEvent: (event) => setEvents((known) => [event, ...known].slice(0, KEPT_EVENTS)),
        onReach: setReached,
      }),
    [],
  );
  useEffect(() => {
    document.title = `${page.title} · ${session.device} · SceneBus`;
  }, [page, session.device]);

  const Page = page.page;
  return (
    <>
      <a class="skip" href="#content" onClick={skip}>
        Skip to content
      </a>
      <header>
        <span class="brand">
          <img src="/icon.svg" alt="" width="28" height="28" /> SceneBus <small>{session.device}</small>
        </span>
        <nav aria-label="Pages">
          {PAGES.map(({ id, title }) => (
            <a key={id} href={`#/${id}`} aria-current={id === page.id ? 'page' : undefined}>
              {title}
            </a>
          ))}
        </nav>
        <button type="button" class="quiet" onClick={onLeave}>
          Sign out
        </button>
      </header>
      {!isReached && (
        <p class="banner" role="alert">
          The device is not reached. This page goes on when it is back.
        </p>
      )}
      <SetupBanner isAdmin={session.role === 'admin'} page={page.id} />
      <main id="content" tabIndex={-1}>
        <Page state={state} events={events} session={session} />
      </main>
    </>
  );
}

/** Without touching the address, which names the page. */
function skip(event: Event): void {
  event.preventDefault();
  document.getElementById('content')?.focus();
}
