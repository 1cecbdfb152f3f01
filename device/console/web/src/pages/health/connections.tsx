import type { ComponentChildren } from 'preact';
import type { Connections } from '../../../../api/health-schemas.js';
import { duration, useRefreshed } from './health-page.js';

const REFRESH_MS = 3_000;

/** Cameras and the broker in detail. */
export function ConnectionDetails() {
  const { value, failure } = useRefreshed<Connections>('/api/connections', REFRESH_MS);
  if (failure !== undefined)
    return (
      <p class="failure" role="alert">
        {failure}
      </p>
    );
  if (value === undefined) return <p class="card">Asking the device…</p>;
  const { cameras, broker } = value;
  const counters = Object.entries(broker.counters);
  return (
    <div class="halves connections">
      {cameras.map((camera) => (
        <section key={camera.id} class="card" aria-label={`Camera ${camera.id}`}>
          <h2>Camera {camera.id}</h2>
          <dl>
            <Fact name="State">
              {camera.state}, for {duration(Math.max(0, (Date.now() - camera.sinceMs) / 1000))}
            </Fact>
            <Fact name="Address">{camera.address}</Fact>
            <Fact name="Read by">{[camera.kind, camera.backend].filter(Boolean).join(', ')}</Fact>
            {camera.image && (
              <Fact name="Size">
                {camera.image.width} × {camera.image.height}
                {camera.framesPerSecond === null ? '' : `, ${Math.round(camera.framesPerSecond)}/s as declared`}
              </Fact>
            )}
            <Fact name="Pictures so far">{camera.frames.toLocaleString()}</Fact>
            <Fact name="Privacy">
              {camera.isPrivate ? 'on: nobody sees it' : 'off'}
              {camera.masks > 0 ? `, ${camera.masks} ${camera.masks === 1 ? 'mask' : 'masks'}` : ''}
            </Fact>
            {camera.attempt !== null && (
              <Fact name="Being opened again">
                attempt {camera.attempt}
                {camera.retryAtMs === null ? '' : `, next at ${new Date(camera.retryAtMs).toLocaleTimeString()}`}
              </Fact>
            )}
            {camera.error && (
              <Fact name="Last error">
                {camera.error.message} <small>({camera.error.code})</small>
              </Fact>
            )}
          </dl>
        </section>
      ))}
      <section class="card" aria-label="Broker">
        <h2>Broker</h2>
        <dl>
          <Fact name="State">{broker.state}</Fact>
          <Fact name="Address">
            {broker.address}
            {broker.isEmbedded ? ' (the device’s own)' : ''}
          </Fact>
          <Fact name="MQTT">{broker.protocolVersion === null ? '–' : broker.protocolVersion === 4 ? '3.1.1' : '5'}</Fact>
          <Fact name="Topic root">{broker.root}</Fact>
          {counters.map(([name, count]) => (
            <Fact key={name} name={spaced(name)}>
              {count.toLocaleString()}
            </Fact>
          ))}
        </dl>
      </section>
    </div>
  );
}

function Fact({ name, children }: { readonly name: string; readonly children: ComponentChildren }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}

/** `requestsBusy` becomes `Requests busy`. */
function spaced(name: string): string {
  const words = name.replace(/([A-Z])/g, ' $1').toLowerCase();
  return words.charAt(0).toUpperCase() + words.slice(1);
}
