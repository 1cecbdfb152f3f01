import { useEffect, useState } from 'preact/hooks';
import type { SetupStepState } from '../../api/setup-schemas.js';
import { get } from './api.js';

/** For admins, while something was never seen to work and nobody left it for later. */
export function SetupBanner({ isAdmin, page }: { readonly isAdmin: boolean; readonly page: string }) {
  const [open, setOpen] = useState(0);
  useEffect(() => {
    if (!isAdmin || page === 'device') return setOpen(0);
    get<{ steps: SetupStepState[]; isLeft: boolean }>('/api/setup').then(
      ({ steps, isLeft }) => setOpen(isLeft ? 0 : steps.filter(({ isDone }) => !isDone).length),
      () => {},
    );
  }, [isAdmin, page]);
  if (open === 0) return null;
  return (
    <aside class="setup-banner" aria-label="Set-up">
      {open === 1 ? 'One step of the set-up is open.' : `${open} steps of the set-up are open.`}{' '}
      <a href="#/device?part=setup">Go on with the set-up</a>
    </aside>
  );
}
