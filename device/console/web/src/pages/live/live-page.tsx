import { useEffect, useState } from 'preact/hooks';
import type { CameraState, GroundedBox, TimelineEvent, TimelinePage } from '../../../../api/schemas.js';
import { get } from '../../api.js';
import type { PageProps } from '../../app.js';
import { BoxedPicture } from '../../boxed-picture.js';
import { HeatControls } from '../../heat-controls.js';
import { TitleWithProblems } from '../../title-with-problems.js';
import { LampCard } from './lamp-card.js';
import { LivePicture } from './live-picture.js';
import { MaskOutlines } from './mask-outlines.js';
import './live.css';

export function LivePage({ state, events, session }: PageProps) {
  // Those of the lamps are told there.
  const others = state?.problems.filter(({ part }) => !/^(?:model|bus|camera\/)/.test(part)) ?? [];
  return (
    <>
      <TitleWithProblems title="Live" problems={others} />
      <section class="lamps" aria-label="State">
        {(['camera', 'model', 'broker'] as const).map((name) => (
          <LampCard key={name} name={name} lamp={state?.lamps[name]} />
        ))}
      </section>
      {state?.cameras.map((camera) => (
        <CameraSection key={camera.id} camera={camera} events={events} mayAsk={session.role !== 'display'} />
      ))}
    </>
  );
}

function CameraSection({
  camera,
  events,
  mayAsk,
}: {
  readonly camera: CameraState;
  readonly events: readonly TimelineEvent[];
  readonly mayAsk: boolean;
}) {
  const [held, setHeld] = useState<{ readonly scene: TimelineEvent; readonly heat: string }>();
  const [earlier, setEarlier] = useState<TimelineEvent>();
  useEffect(() => {
    const abort = new AbortController();
    const query = new URLSearchParams({ kinds: 'scene', camera: camera.id, limit: '1' });
    get<TimelinePage>(`/api/timeline?${query}`, abort.signal).then(
      (page) => setEarlier(page.events[0]),
      () => {},
    );
    return () => abort.abort();
  }, [camera.id]);
  // A map belongs to its frame: the picture stands still below it.
  const scene =
    held?.scene ?? events.find((event) => event.kind === 'scene' && event.camera === camera.id) ?? earlier;
  const answer = scene?.body.answer as { text: string; sentence?: string; objects: GroundedBox[] } | undefined;
  const words = answer?.sentence ?? answer?.text;
  return (
    <section class="camera" aria-label={`Camera ${camera.id}`}>
      <figure class="card">
        <figcaption>
          <h2>{camera.id} now</h2>
          <span class="facts">
            {camera.image ? `${camera.image.width} × ${camera.image.height}` : camera.state}
            {camera.framesPerSecond ? `, ${Math.round(camera.framesPerSecond)} pictures/s` : ''}
            {camera.masks.length > 0
              ? `, ${camera.masks.length} privacy ${camera.masks.length === 1 ? 'mask' : 'masks'}`
              : ''}
          </span>
        </figcaption>
        <LivePicture camera={camera} />
      </figure>
      <figure class="card">
        <figcaption>
          <h2>{camera.id} as described</h2>
          <span class="facts">{held && 'held, '}
            {scene ? new Date(scene.atMs).toLocaleTimeString() : ''}</span>
        </figcaption>
        {scene?.frame && answer ? (
          <>
            <BoxedPicture
              frame={scene.frame}
              camera={camera.id}
              run={scene.run}
              objects={answer.objects}
              heat={held?.heat}
              alt={`The frame that was described: ${words}`}
            >
              <MaskOutlines masks={camera.masks} />
            </BoxedPicture>
            <p class="description" aria-live="polite">
              {words}
            </p>
            {mayAsk && <HeatControls
              frame={{ id: scene.frame.id, run: scene.run }}
              camera={camera.id}
              objects={answer.objects}
              onHeat={(heat) => setHeld(heat === undefined ? undefined : { scene, heat })}
            />}
          </>
        ) : (
          <p class="absent">No description yet. The first comes when the model is ready.</p>
        )}
      </figure>
    </section>
  );
}
