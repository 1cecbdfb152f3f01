import type { ComponentType } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import type { PageProps } from '../../app.js';
import './device.css';
import { Overview } from './overview.js';

interface Part {
  readonly id: string;
  readonly title: string;
  /** Fetched when it is first looked at. */
  readonly load: () => Promise<ComponentType<PageProps>>;
}

/** Besides the overview: for admins. */
const PARTS: readonly Part[] = [
  { id: 'setup', title: 'Set-up', load: async () => (await import('./setup/setup-wizard.js')).SetupWizard },
  { id: 'settings', title: 'Settings', load: async () => (await import('./settings/settings.js')).Settings },
  { id: 'masks', title: 'Privacy masks', load: async () => (await import('./masks/mask-editor.js')).MaskEditor },
  {
    id: 'calibration',
    title: 'Calibration',
    load: async () => (await import('./calibration/calibration.js')).Calibration,
  },
  { id: 'access', title: 'Access', load: async () => (await import('./access.js')).Access },
];

/** Of `#/device?part=settings`. */
function partOfAddress(): string {
  return new URLSearchParams(location.hash.split('?')[1] ?? '').get('part') ?? 'overview';
}

export function DevicePage(props: PageProps) {
  const [id, setId] = useState(partOfAddress);
  useEffect(() => {
    const look = (): void => setId(partOfAddress());
    addEventListener('hashchange', look);
    return () => removeEventListener('hashchange', look);
  }, []);
  if (props.session.role !== 'admin')
    return (
      <>
        <h1>Device</h1>
        <Overview {...props} />
      </>
    );
  const part = PARTS.find((known) => known.id === id);
  return (
    <>
      <h1>Device</h1>
      <nav class="parts" aria-label="Parts of this page">
        {[{ id: 'overview', title: 'Overview' }, ...PARTS].map(({ id: each, title }) => (
          <a
            key={each}
            href={each === 'overview' ? '#/device' : `#/device?part=${each}`}
            aria-current={each === (part?.id ?? 'overview') ? 'page' : undefined}
          >
            {title}
          </a>
        ))}
      </nav>
      {part === undefined ? <Overview {...props} /> : <Loaded key={part.id} part={part} {...props} />}
    </>
  );
}

function Loaded({ part, ...props }: PageProps & { readonly part: Part }) {
  const [loaded, setLoaded] = useState<{ readonly Content: ComponentType<PageProps> }>();
  const [failure, setFailure] = useState<string>();
  useEffect(() => {
    part.load().then(
      (Content) => setLoaded({ Content }),
      () => setFailure('This part cannot be fetched from the device. Load the page again.'),
    );
  }, [part]);
  if (failure !== undefined) return <p class="failure">{failure}</p>;
  return loaded === undefined ? <p>Loading…</p> : <loaded.Content {...props} />;
}
